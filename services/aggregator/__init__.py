"""The aggregator: moves deltas into counts, and does the chores.

`app` and `apply_deltas` move deltas. `chores` ends silent calls (`reap`), applies retention (`prune`) and
removes from the quarantine what it may no longer hold (`quarantine_erasure`). `metrics` shows what happens.

May import `shared`.
"""

"""The aggregator: moves deltas into counts and runs the chores.

`app` and `apply_deltas` move deltas (`apply_on_node` on a distributed database). `chores` ends silent calls
(`reap`), applies retention (`prune`) and erases quarantined records that may no longer be kept
(`quarantine_erasure`). `metrics` defines the metrics.

May import `shared`.
"""

"""Counts: what a call counts for. Pure: no I/O, no clock.

`cell` has a call's cell and measures, `counted_sql` the same in SQL, held equal by a test. `deltas` sums
changes per cell. `histogram` and `packed` keep a distribution in one number.

May import `shared.calls` and the single files of `shared`.
"""

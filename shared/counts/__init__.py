"""Counts: the cell and measures of a call. Pure: no I/O, no clock.

`cell` computes a call's cell and measures. `counted_sql` does the same in SQL, and a test holds the two
equal. `deltas` sums changes per cell. `histogram` and `packed` store a distribution in one number.

May import `shared.calls` and the single files of `shared`.
"""

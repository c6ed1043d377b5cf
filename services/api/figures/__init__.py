"""Figures: stats and trends.

`questions` reads what is wanted, `sums` adds up counts and deltas over `intervals`, `formulas` makes
telephony's figures of the sums. `answers` keeps what was computed for as long as nothing changes.
`concurrency` finds the most calls at once, `calls_per_day` how many calls each day of a list has.

Imports `services.api.access`, `services.api.database` and `services.api.http`.
"""

"""Figures: the routes `stats` and `trends`.

`stats_query` and `cell_filters` parse the query. `sums` adds up the rows of `counted_rows` over `intervals`;
`formulas` computes telephony's figures from the sums. `answer_cache` keeps an answer until something changes.
`concurrency` finds the most calls at once; `calls_per_day` counts the calls of each day of a list. `models`
and `documentation` describe the answers.

May import `shared`, `services.api.access`, `services.api.database` and `services.api.http`.
"""

"""Figures: the routes of stats and trends, `stats` and `trends`.

`stats_query` and `cell_filters` read what is wanted. `sums` adds up the rows that `counted_rows` names over
`intervals`; `formulas` makes telephony's figures of the sums. `answer_cache` keeps an answer for as long as
nothing changes. `concurrency` finds the most calls at once, `calls_per_day` how many calls each day of a list
has. `models` and `documentation` describe the answers.

May import `shared`, `services.api.access`, `services.api.database` and `services.api.http`.
"""

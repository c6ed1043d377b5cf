"""The store: reading and writing calls and their deltas in PostgreSQL.

`batch` reads and writes what a batch of events touches; `changes`, pure, stands between the two. `delete`,
`time_zone_change` and `quarantine` are other writers, `audit` their log; `deltas_channel` notifies the
aggregators. `read_progress` has how far the topic is read, `zone_rules` by which time-zone rules calls were
placed.

May import everything of `shared` but `shared.migrations`.
"""

"""The store: everything that changes calls and counts in PostgreSQL.

`batch` reads and writes what a batch of events touches; `changes`, pure, stands between the two. `delete`,
`time_zone_change` and `quarantine` are the other writers, `audit` their log. `read_progress` has how far the
topic is read, `zone_rules` by which time-zone rules calls were placed.

Imports `shared.calls`, `shared.counts` and `shared.database`.
"""

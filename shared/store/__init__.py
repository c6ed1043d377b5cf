"""The store: reading and writing calls and their deltas in PostgreSQL.

`batch` reads and writes the calls of a batch, `by_shard` on a distributed database. `changes`, pure, computes
the changes between the two.
`delete`, `time_zone_change` and `quarantine` are other writers, `audit` their log; `deltas_channel` notifies
the aggregators. `read_progress` stores how far the topic is read, `zone_rules` the time-zone rules by which
calls were placed. `sources` reads sources, the organizations of their calls, and phone numbers. `webhooks`
manages endpoints, and `webhook_deliveries` shows and repeats what was sent.

May import everything of `shared` but `shared.migrations`.
"""

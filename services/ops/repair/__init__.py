"""Repair: what commands do to calls, counts, topics and the quarantine.

`refold` repairs calls, and `rebuild` repairs counts. `quarantined_records` lists, retries and
discards the records of the quarantine: `redrive` retries some, and `quarantine_search` finds those of an
organization. `replay_source` and `archive` read records again, and `rehearsal` counts what they would change.
`retry_overtaken` retries after a conflict with another writer.
`number_application` gives stored calls the ids of their numbers.

May import `shared`, the services whose work is repeated, `services.ops.proof` and `services.ops.terminal`.
"""

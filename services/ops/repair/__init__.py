"""Repair: the acts that commands run on calls, counts, topics and the quarantine.

`refold` repairs calls, `rebuild` counts; `redrive` retries quarantined records, which `quarantine_search`
finds. `replay_source` and `archive` read records again, `rehearsal` says what they would change.
`retry_overtaken` retries what another owner of the same calls was faster with.

May import `shared`, the services whose work is repeated, `services.ops.proof` and `services.ops.terminal`.
"""

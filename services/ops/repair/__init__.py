"""Repair: the acts that commands run on calls, counts, topics and the quarantine.

`refold` repairs calls, `rebuild` counts; `redrive` retries quarantined records. `replay_source` and `archive`
read records again. `overtaken` retries what another owner of the same calls was faster with.

Imports `services.ops.terminal` and `services.ops.proof`, and the services whose work is repeated.
"""

"""The proof: that every count is a recount of the calls, and every call the fold of its events.

`proof` runs `cell_proof`, `call_proof` and `deletion_proof` in one snapshot, in constant memory (`chunks`).
`statements` has their SQL, and `difference` their findings. `organization_zones` reads the time zones.

May import `shared` and `services.ops.terminal`.
"""

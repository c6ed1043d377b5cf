"""The proof: that every count is a recount of the calls, and every call the fold of its events.

`proof` runs `cell_proof`, `call_proof` and `deletion_proof` in one snapshot, in constant memory (`chunks`).
`statements` has their SQL, and `difference` their findings. `organization_zones` reads the time zones. `part`
has the organizations of one snapshot: all, but on a distributed database those of a shard.

`topic_proof` proves the topic of calls: `topic_reader` reads it, `newest_record` turns a record into an
entry, `sorted_runs` sorts entries, and `topic_difference` has the findings.

`recorded_proofs` stores runs of the proof, with their progress and results.

May import `shared`, `services.publisher` and `services.ops.terminal`.
"""

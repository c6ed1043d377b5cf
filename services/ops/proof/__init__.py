"""The proof: that every count is a recount of the calls, and every call the fold of its events.

`statements` has its SQL; `proof` runs it in one snapshot, in constant memory.

Imports nothing of the other packages of `services.ops`.
"""

"""The terminal: how every command reads what an operator typed, and prints what came of it.

`failure` is what an operator can be told in one sentence. `printing`, `progress_bar`, `readable` and
`plain_help` print; `program` names commands to paste, `operator` who runs them; `waiting` bounds waits.

Imports nothing of the other packages of `services.ops`.
"""

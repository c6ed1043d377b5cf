"""The terminal: how every command reads what an operator typed, and prints what came of it.

`options` and `environment` read. `failure` is an error that a command reports in one sentence. `printing`,
`progress_bar`, `readable` and `plain_help` print; `program` names commands to paste, `operator` writes audit
lines; `waiting` bounds waits.

May import `shared`, and nothing of the other packages of `services.ops`.
"""

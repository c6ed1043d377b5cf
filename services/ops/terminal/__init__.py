"""The terminal: shared code of the commands for input, output and failures.

`options` and `environment` read input. `failure` is an expected fault, reported in one sentence. `printing`,
`progress_bar`, `readable` and `plain_help` print. `program` suggests command lines, `operator` writes audit
lines, and `waiting` bounds waits.

May import `shared`, and no other package of `services.ops`.
"""

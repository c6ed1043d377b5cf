"""The embedded stack: PostgreSQL, Kafka and the services on one machine, from packages, run by a supervisor.

`stack` starts and stops it; `state` is its directory. `postgres`, `kafka`, `jars` and `servers` run the two
servers. `readiness` checks the services. `supervisor` runs every program, and `processes` finds them.

May import `shared`, `services.ops.topic_settings`, `services.ops.sources` and `services.ops.terminal`.
"""

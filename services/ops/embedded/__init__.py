"""The embedded stack: PostgreSQL, Kafka and the services on one machine, from packages, under a supervisor.

`stack` starts and stops it, `state` is its directory. `postgres`, `kafka`, `jars` and `servers` run the two
servers, `readiness` waits for them, `supervisor` and `processes` look after all of it.

May import `shared`, `services.ops.topic_settings` and `services.ops.terminal`.
"""

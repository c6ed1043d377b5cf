"""The embedded stack: PostgreSQL, Kafka and the services on one machine, from packages, under a supervisor.

`stack` starts and stops it, `state` is its directory. `postgres`, `kafka`, `jars` and `servers` run the two
servers, `supervisor` and `processes` look after all of it.

Imports `services.ops.terminal` and `services.ops.topic_settings`.
"""

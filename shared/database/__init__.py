"""PostgreSQL: how callfold reaches it, and what it has there.

`connection` connects, `pooled` through a pooler; `patient_connection` outlives outages. `faults`, `timeouts`
and `loggable` judge what goes wrong and what of it may be logged. `statement` names parameters. `tables`,
`roles` and `schema_step` describe the schema; `engine` is SQLAlchemy's. `locks` lists the advisory locks.

May import `shared.settings`, `shared.counts`, `shared.calls` and the single files of `shared`.
"""

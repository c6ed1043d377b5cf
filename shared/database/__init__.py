"""PostgreSQL: connections, faults and the schema.

`connection` connects, `pooled` through a pooler; `patient_connection` survives outages. `faults` and
`timeouts` classify faults, and `loggable` words them for logs. `statement` names parameters. `tables`,
`roles` and `schema_step` describe the schema; `engine` is SQLAlchemy's. `locks` lists the advisory locks, and
`held_locks` takes them on a distributed database.
`distributed` recognizes Citus and lists its servers; `each_server` runs work on each of them.

May import `shared.settings`, `shared.counts`, `shared.calls` and the single files of `shared`.
"""

"""Migrations: the numbered steps of the tables, in `versions`, and the code that applies them.

`upgrade` applies the steps, `alone` allows one run at a time, `give_roles` grants the services' roles their
privileges. `distribute` distributes the tables over the servers of Citus, with `places`,
`functions_on_shards`, `outbox_on_servers` and `rights_on_servers`; `on_server` connects. Alembic reads `env`.
docs/how-to/write-a-migration.md defines what a step may do.

May import everything of `shared` but `shared.store`.
"""

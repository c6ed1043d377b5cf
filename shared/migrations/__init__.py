"""Migrations: the numbered steps of the tables, in `versions`, and what applies them.

`upgrade` applies the steps, `alone` lets one run at a time, `give_roles` gives each service's role its
rights. Alembic reads `env`. docs/how-to/write-a-migration.md says what a step may do.

May import everything of `shared` but `shared.store`.
"""

"""PostgreSQL: how callfold reaches it, and what it has there.

`connection` connects, `pooled` through a pooler; `faults` and `timeouts` judge what goes wrong. `tables`,
`roles` and `step` describe the schema, which `shared.migrations` makes; `engine` is SQLAlchemy's, for those.

Imports `shared.settings`, `shared.api_keys` and `shared.backoff`.
"""

"""The HTTP API: reads calls, events, stats and trends; deletes calls.

`app` puts it together. `calls` and `figures` are the routes, on top of `access`, `database` and `http`.
`document` makes the OpenAPI document, `reference` docs/api.md of it.

Imports `shared`. The floors are in pyproject.toml, under `tool.importlinter`.
"""

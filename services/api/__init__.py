"""The HTTP API: reads calls, events, stats and trends; deletes calls; manages webhooks.

`app` puts it together. `calls`, `figures`, `stream` and `webhooks` are the routes, on top of `access`,
`database` and `http`; `health` has the probes. `document` makes the OpenAPI document, `asyncapi` the
AsyncAPI document of the topic. `metrics` shows what happens.

May import `shared`. The floors are in pyproject.toml, under `tool.importlinter`.
"""

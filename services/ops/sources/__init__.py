"""Sources for the operator.

`sample` reads files with one delivery or a whole call's, and `attempt` runs them through dialects and fold.
`configuration` checks a source as it is typed, and `stored` writes it. `numbers` reads phone numbers.
`secret_keys` finds the keys of its secrets. `last_deliveries` reads the newest records of a source.

May import `shared`, `services.ops.terminal`, and ingest's reading of deliveries.
"""

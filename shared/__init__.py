"""Code that several services share.

`calls` and `counts` are pure: they define a call and its counts. So are `dialects` and `sources`, which read
deliveries, and `webhooks`, which makes messages. `database` and `kafka` connect to the
servers, `store` changes calls and counts, and `monitoring` covers logs, metrics and traces. `settings` reads
the environment; `migrations` creates the tables. `encoding`, `plans`, `api_keys`, `secret_box`, `backoff`,
`outage`, `in_halves`, `extras`, `upstream`, `probe` and `first_of` are single files.

May import no service. The layers are defined in pyproject.toml, under `tool.importlinter`.
"""

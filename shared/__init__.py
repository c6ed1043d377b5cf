"""What several services need.

`calls` and `counts` are pure: what a call is, and what it counts for. `database` and `kafka` reach the
servers, `store` changes calls and counts, `monitoring` shows what a process does, `settings` read the
environment. `migrations` make the tables. `plans`, `api_keys`, `backoff`, `outage`, `in_halves`, `extras`,
`upstream` and `probe` are a file each.

May import no service. The floors are in pyproject.toml, under `tool.importlinter`.
"""

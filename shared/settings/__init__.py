"""Settings: the environment variables with the prefix `CALLFOLD_`.

`base` reads the environment and words the errors. `checks` and `database_url` check single values. `process`,
`database`, `kafka` (with `kafka_tls`) and `secrets` hold settings that several services share. `receiver`,
`ingest`, `aggregator`, `publisher`, `webhooks` and `api` hold those of one service, `streams` and `admin`
those of the API's streams and admin routes. `misspelt` finds misspelt and deprecated variables.

May import `shared.calls`, `shared.sources` and the single files of `shared`.
"""

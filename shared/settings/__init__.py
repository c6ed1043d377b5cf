"""Settings: everything that the environment says with the prefix `CALLFOLD_`.

`base` reads the environment and words the errors. `checks` and `database_url` check single values.
`process`, `database`, `kafka` (with `kafka_tls`) have what several services share; `ingest`, `aggregator` and
`api` have one service's each. `misspelt` finds variables that no setting reads.

May import `shared.calls` and the single files of `shared`.
"""

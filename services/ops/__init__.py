"""The operator's command line, `callfold`.

`main` registers the commands. `commands` has their files, and `admin` the routes for operators, on top of
`addresses`, `repair`, `proof`, `embedded`, `pipeline_lag`, `topic_settings` and `terminal`. `demo` is the
simulated telephony system. `reference` generates pages of docs/reference.

May import `shared` and the services that it operates. The floors are in pyproject.toml.
"""

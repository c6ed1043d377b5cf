"""The operator's command line, `callfold`.

`main` registers the commands. `commands` has one file each, on top of `addresses`, `repair`, `proof`,
`embedded` and `terminal`; `demo` is the simulated telephony system.

Imports `shared` and the services that it operates. The floors are in pyproject.toml.
"""

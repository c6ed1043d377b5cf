"""The processes of callfold: `receiver`, `ingest`, `aggregator` and `api`, and the commands, `ops`.

A service imports `shared`, and no other service. `ops` may drive what it operates.
"""

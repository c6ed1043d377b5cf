"""The processes of callfold: `ingest`, `aggregator` and `api`, and the operator's commands, `ops`.

A service imports `shared`, and no other service. `ops` may drive what it operates.
"""

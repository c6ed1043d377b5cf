"""Monitoring: logs, metrics, health and traces of a process.

`logs` sets up the log, `metrics` the registry, `monitor` the port of metrics and health. `worker` runs a
process that has these and serves no clients. `traces` and `trace_export` send spans if a setting names a
collector.

May import everything of `shared` but `shared.store` and `shared.migrations`.
"""

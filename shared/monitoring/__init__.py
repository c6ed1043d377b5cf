"""Monitoring: what a process shows of itself.

`logs` sets up the log, `metrics` the registry, `monitor` the port for both metrics and health. `traces` and
`trace_export` send spans where a setting names a collector.

May import everything of `shared` but `shared.store` and `shared.migrations`.
"""

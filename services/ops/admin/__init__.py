"""The admin API: the routes for operators, on the monitor port of the API.

`monitor_port` serves them beside metrics and health. `app` puts the routes together, behind the token that
`token_guard` checks: `lag_routes`, `quarantine_routes`, `source_routes`, `webhook_routes` and `proof_routes`.
`running_admin` has what they share, and `proof_process` runs a proof. `queries`, `models` and `documentation`
describe parameters and answers.

May import `shared`, `services.api.http`, `services.api.console`, the parameter types of `services.api.calls`,
and `services.ops` but `main`, `demo`, `commands` and `reference`.
"""

"""Sources for the operator.

`sample` reads files with one delivery or a whole call's, and `attempt` runs them through dialects and fold.
`configuration` checks a source as it is typed, and `stored` writes it. `numbers` reads phone numbers.
`secret_keys` finds the keys of its secrets.

May import `shared` and `services.ops.terminal`.
"""

"""Access: who sends a request, and what they may do.

`credentials` finds the principal of a request by its API key (`batched_lookups`) or its JWT (`tokens`,
`signing_keys`). `client_address` finds the client's address. `rate_limits` counts requests, and `key_uses`
records each key's last use.

May import `shared`, `services.api.database` and `services.api.http`.
"""

"""Access: who asks, and how much they may.

`credentials` finds the principal of a request by its API key (`batched_lookups`) or its JWT (`tokens`,
`signing_keys`). `client_address` finds where it comes from. `rate_limits` counts requests, `key_uses` notes a
key's last use.

May import `shared`, `services.api.database` and `services.api.http`.
"""

"""HTTP servers: the parts that the API and the receiver share.

`serving` runs an application until a signal. `server` limits the size and speed of requests and answers.
`traces` gives requests their spans.

May import everything of `shared` but `shared.store` and `shared.migrations`.
"""

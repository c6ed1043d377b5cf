"""The demo: a simulated telephony system that publishes to a whole stack, and an account of what it sent.

`simulator`, `simulated_call` and `simulated_fault` make records from a seed. `command`, `run` and `traffic`
publish them, and `screen` shows the API's answers. `account` and `check` compare the results with what was
sent.

May import `shared` and all of `services.ops` except `main`.
"""

"""The demo: three simulated producers that deliver to a whole stack, and an account of what each delivered.

`simulator`, `simulated_call` and `simulated_fault` make the native producer's records from a seed.
`simulated_proxy` and `simulated_vendor` make the calls of two systems that deliver in their own forms, and
`attached_systems` their sources. `command`, `run`, `traffic` and `posting` deliver the records, and `screen`
shows the API's answers. `followers` hear of one more call. `account`, `check` and `result` compare the
results with what was delivered.

May import `shared` and all of `services.ops` except `main`.
"""

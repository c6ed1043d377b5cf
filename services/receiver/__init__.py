"""The receiver: takes the requests of telephony systems, verifies them, and publishes them as they came.

`app` puts it together. `hooks` takes one request through its steps. `known_sources` holds the sources of the
database, `bodies` reads bodies within a memory limit, and `publisher` writes to the topic of deliveries.
`sns` verifies the messages of Amazon SNS. `answers` has every answer, `refusals` counts and logs refused
requests, and `metrics` and `traces` show what happens.

May import `shared`.
"""

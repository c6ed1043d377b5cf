"""The webhooks service: sends the messages that the publisher has stored to the endpoints of organizations.

It is the only process that connects to addresses that clients choose. `app` decides what to send and when.
`due_deliveries` reads from the database, and `outcomes` writes to it. `endpoint_client` speaks HTTP.
`upkeep` removes old messages, and `metrics` defines the metrics.

May import `shared`.
"""

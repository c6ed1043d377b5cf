"""Webhooks: messages about changed calls to endpoints, by the Standard Webhooks specification.

`call_change` decides which messages a change causes, and `message` makes them. `signing` signs them with an
endpoint's secrets. `target` decides which URLs and addresses messages may be sent to, and `retry_schedule`
when a failed one is sent again.

Pure: no I/O, and no clock. Imports `shared.calls`.
"""

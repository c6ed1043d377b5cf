"""Kafka: how every client of callfold connects to it, and the topic.

`client` has the options of a client and words a broker's refusals; `token` gets OAuth tokens. `topic` makes
the topic and waits for it. What callfold changes in aiokafka is listed in docs/upstream.md.

Imports `shared.settings` and `shared.backoff`.
"""

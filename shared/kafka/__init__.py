"""Kafka: the connections of callfold's clients, and the topic.

`client` has the options of a client and words a broker's refusals; `token` gets OAuth tokens. `topic` creates
the topic and waits for it, and `topic_metadata` describes it. `producer` publishes. `header_names` and
`connections` replace parts of aiokafka.
docs/explanation/upstream.md lists what callfold changes in aiokafka.

May import `shared.settings`, `shared.counts`, `shared.calls` and the single files of `shared`.
"""

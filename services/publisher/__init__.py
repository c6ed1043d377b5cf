"""The publisher: writes the present state of each changed call to the topic of calls, and stores the messages
for webhooks.

`app` leads or stands by. `leadership` decides which process leads. `changed_calls` reads the outbox and the
calls, on a distributed database `calls_on_shards` reads the calls. `topic_writer` writes to Kafka.
`webhook_outbox` stores messages. `metrics` defines the metrics.

May import `shared`.
"""

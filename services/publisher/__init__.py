"""The publisher: writes the present state of each changed call to the topic of calls.

`app` leads or stands by. `leadership` decides which process leads. `changed_calls` reads the outbox and the
calls, `topic_writer` writes to Kafka. `metrics` defines the metrics.

May import `shared`.
"""

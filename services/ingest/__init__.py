"""Ingest: from the topic into the store, in batches; offsets are committed after the database.

`app` is the way of a batch, `subscription` what FastStream does for it, over aiokafka's `consumer`.
`arrivals` reads records, `breaker` stops a flood of bad ones, `writer` stores, `offsets` commits.
`assignment`, `assignor`, `watch`, `topic_metadata` and `topic_return` know the topic's partitions;
`progress_writer` notes how far they are read. `metrics`, `traces` and `batch_trace` show what happens.

May import `shared`.
"""

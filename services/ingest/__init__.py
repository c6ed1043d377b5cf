"""Ingest: from the topic into the store, in batches; offsets are committed after the database.

`app` starts a `reader` per topic, which takes a batch through its steps. `subscription` covers FastStream,
over aiokafka's `consumer`. `arrivals` reads events and `deliveries` those of sources, which
`source_directory` knows. `waiting` and `redrive` retry quarantined records. `breaker` stops a flood of
invalid ones, `writer` stores, over one `lane` for each server that `shard_directory` knows. `offsets`
commits. `replacement` finds the calls that a replacement changes. `assignment`, `assignor`, `watch` and
`topic_return` track the topic's partitions. `progress_writer` writes how far they are read. `metrics`,
`traces` and `batch_trace` are for monitoring.

May import `shared`.
"""

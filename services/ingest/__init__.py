"""Ingest: from the topic into the store, in batches; offsets are committed after the database.

`app` is the way of a batch, `subscription` all that FastStream does for it. `arrivals` reads records,
`breaker` stops a flood of bad ones, `writer` stores. `assignment`, `assignor`, `watch` and `topic_metadata`
know the topic's partitions; `progress_writer` notes how far they are read.

Imports `shared`.
"""

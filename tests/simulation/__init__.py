"""A deterministic simulation: callfold's own code, a real PostgreSQL, and a schedule in place of chance.

schedule   who goes one step further, and who dies where
topic      the topic and its consumer group, in memory
actors     ingest, aggregator and what operators and users do, as coroutines
watcher    what must hold after every commit, and at the end
"""

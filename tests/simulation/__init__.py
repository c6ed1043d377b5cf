"""A deterministic simulation: callfold's own code, a real PostgreSQL, and a schedule in place of chance.

- `schedule`: which actor runs the next step, and where an actor dies
- `topic`: the topic and its consumer group, in memory
- `actors`: ingest, aggregator, and the actions of operators and users, as coroutines
- `watcher`: the invariants after every commit, and at the end
"""

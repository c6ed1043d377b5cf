"""The storm: real servers and services under faults at random moments, and checkers that read all the time.

    ./check --storm [--seeds 20] [--seed 1]

- `schedule`: from a seed, the faults, their times and their targets; pure
- `workload`: from a seed, the records: reordered, duplicated and spread over partitions; pure
- `faults`: the table of faults, each a small function
- `stage`: the servers and the supervised services
- `endpoints`: the endpoints of webhooks, which fail by the seed
- `followers`: clients of the stream of changes, with their copies (`followed`)
- `checker`: the invariants during the storm
- `arrival`: waits after the storm until every change has arrived
- `ending`, `changes_ending`: the checks after the storm; `topic_history` reads the topic of calls
- `driver`: one storm from start to end
"""

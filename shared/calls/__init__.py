"""Calls: what a call is, from the bytes of an event to the fold of all of them.

`event` reads a record's value; `lenient`, `framing` and `named_call` read values in other notations.
`event_schema` describes an event as JSON Schema, for producers. `fold` folds events into their call, by the
laws at its top; `hangup` names causes. `organization_tombstone` and `retention` define what is not kept.
`zones` and `local_time` find an organization's day and hour. `stored_payload` shortens payloads for the
database, and `shown_call` is a call as clients see it.

Pure: no clock, and no I/O but the pinned time-zone files. Imports nothing else of callfold but `encoding`.
"""

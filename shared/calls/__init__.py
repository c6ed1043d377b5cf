"""Calls: what a call is, from the bytes of an event to the fold of all of them.

`event` reads a record's value; `lenient`, `framing` and `named_call` read what is written otherwise.
`event_schema` describes an event as JSON Schema, for producers. `fold` makes the call of its events, by the
laws at its top; `hangup` names causes. `organization_tombstone` and `retention` say what is not kept. `zones`
and `local_time` find an organization's day and hour.

Pure: no clock, and no I/O but the pinned time-zone files. Imports nothing else of callfold.
"""

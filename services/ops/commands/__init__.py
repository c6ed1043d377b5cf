"""Commands: one file for each command of `callfold`, named after it. `demo` has a package of its own.

`up`, `down` and `status` run an embedded stack; `migrate` and `topic` prepare servers. `verify` (with
`verify_topic`) and `lag` show the standing. `replay`, `refold` and `rebuild` repair; `reap` and `prune` do
the chores; `quarantine` and `notes` show what was not read. `event` prints the contract of an event and
checks events against it; `event_publish` publishes them. `source` (with `source_try`) connects telephony
systems, and `number` names an organization's numbers. `org` (with `org_change` and `org_delete`), `key`,
`member` and `forget` manage organizations. `publish` steers the publisher, and `webhook` manages endpoints.
`command_connection` connects a command that works on one organization, or on all.

May import `shared`, the services that it operates, and `services.ops` but `main` and `demo`.
"""

"""Commands: one file per command of `callfold`, with the command's name. `demo` has its own package.

- `up`, `down` and `status` run an embedded stack. `migrate` and `topic` prepare servers.
- `verify` and `lag` report. `replay`, `refold` and `rebuild` repair. `reap` and `prune` run chores at once.
- `quarantine` lists refused records, `notes` lists fields that were left out of events.
- `event` prints the contract of an event and checks events against it. `event_publish` publishes them.
- `org` (with `org_change` and `org_delete`), `key`, `member` and `forget` manage organizations.
- `command_connection` connects a command that works on one organization or on all.

May import `shared`, the services that it operates, and `services.ops` except `main` and `demo`.
"""

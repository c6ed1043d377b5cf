"""Calls: their list, their detail, their export and their deletion.

`filters` reads which calls are wanted; `pages` reads them, from `cursor` to cursor. `listing`, `detail`,
`events`, `recording` and `export` are the routes. `replica` waits until a replica shows a delete.

Imports `services.api.figures` and everything below it.
"""

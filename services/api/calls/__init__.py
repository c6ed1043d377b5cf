"""Calls: the routes `listing`, `detail`, `events`, `recording` and `export`; `detail` also deletes.

`list_query` and `parameter_types` parse the filters; `pages` reads the calls, and `cursor` encodes where the
next page begins. `replica` waits until a replica shows a delete. `recording_store` signs links. `models` and
`documentation` describe the answers. `running_api` holds the parts of the running API.

May import `shared`, `services.api.figures` and everything below it.
"""

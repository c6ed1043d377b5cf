"""The stream: a client hears of each change of its organization's calls, as server-sent events.

`live_changes` is the route, `stream_filters` parses its query, and `documentation` describes it.
`event_stream` sends one answer, and `streams` holds the open ones to their limits and credentials.
`topic_reader` reads the topic of calls, once per process. `feed` passes each `change` on to each
`subscription`, and keeps the last ones in its `tail`. A client resumes at a `position`: from the tail, or
else through `catch_up`.

May import `shared`, `services.api.calls` and everything below it.
"""

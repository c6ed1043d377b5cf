"""The AsyncAPI document: the topic that callfold reads, for producers of events.

It is served as the OpenAPI document is: at the root, without credentials, limits or versions.
"""

from importlib.metadata import version
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from services.api.http.answers import answer
from shared.calls.event import VALUE_BYTES_MAX
from shared.calls.event_schema import event_schema

PATH: Final = "/asyncapi.json"
KAFKA_BINDING: Final = "0.5.0"

_HEADERS: Final = {
    "type": "object",
    "description": "callfold needs no header. It ignores headers that it does not know.",
    "properties": {
        "traceparent": {
            "type": "string",
            "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
            "description": "The producer's W3C trace context. Ingest continues a sampled trace when traces "
            "are enabled.",
            "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        }
    },
    "additionalProperties": True,
}
_KEY: Final = {
    "type": "string",
    "description": "The call id, so that the events of a call share a partition. Any key works: correctness "
    "does not depend on it.",
}
_EVENT: Final = {
    "name": "event",
    "title": "Event",
    "summary": "One immutable fact about one call.",
    "description": "An event may arrive late, out of order and more than once. A record that breaks the "
    "schema's rules for id, type, organization_id, call_id or timestamp is quarantined. An optional field "
    "without a clear meaning is left out of its event.",
    "contentType": "application/json",
    "headers": _HEADERS,
    "payload": {"$ref": "#/components/schemas/event"},
    "bindings": {"kafka": {"key": _KEY, "bindingVersion": KAFKA_BINDING}},
}


def document(topic: str) -> dict[str, Any]:
    """The AsyncAPI 3.0 document of this topic."""
    schema = event_schema()
    # AsyncAPI's own schemas are a superset of draft 7, of which the event's schema uses a part.
    del schema["$schema"]
    examples = [{"name": one["type"], "payload": one} for one in schema["examples"]]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "callfold",
            "version": version("callfold"),
            "description": "The topic from which callfold makes exact call records and exact daily counts. "
            "Telephony systems publish events to it.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": topic,
                "title": "Events of calls",
                "description": "The topic needs as many partitions as ingest processes may ever run. Its "
                "cleanup policy must be delete: compaction would remove events, because the events of a call "
                f"share a key. A value has at most {VALUE_BYTES_MAX:,} bytes.",
                "messages": {"event": {"$ref": "#/components/messages/event"}},
                "bindings": {
                    "kafka": {
                        "topic": topic,
                        "topicConfiguration": {"cleanup.policy": ["delete"]},
                        "bindingVersion": KAFKA_BINDING,
                    }
                },
            }
        },
        "operations": {
            "readEvents": {
                "action": "receive",
                "channel": {"$ref": "#/channels/events"},
                "title": "Read events",
                "summary": "Ingest reads every event of the topic.",
                "description": "Ingest commits the offset of a record after the transaction that stored it. "
                "Redelivery changes nothing.",
                "messages": [{"$ref": "#/channels/events/messages/event"}],
            }
        },
        "components": {
            "messages": {"event": {**_EVENT, "examples": examples}},
            "schemas": {"event": schema},
        },
    }


def add_route(app: Starlette, topic: str) -> None:
    """Serves the document of this topic."""
    body = document(topic)

    async def asyncapi(_request: Request) -> Response:
        return answer(body)

    app.add_route(PATH, asyncapi, include_in_schema=False)

"""Events for tests: readable ones written by hand, and generated ones for laws."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID

from hypothesis import strategies as st

from shared.calls.event import MISSING_HANGUP, Event, EventType, read, read_stored

ORGANIZATION = UUID("6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8a01")
CALL = UUID("6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8a02")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def value(
    type: str,
    *,
    id: str = "evt_1",
    call_id: UUID | str = CALL,
    organization_id: UUID | str = ORGANIZATION,
    timestamp: datetime | str = NOON,
    livemode: bool | None = True,
    **data: Any,
) -> bytes:
    """A record's value, as a telephony system would write it."""
    return json.dumps(
        {
            "id": id,
            "type": type,
            "organization_id": str(organization_id),
            "call_id": str(call_id),
            "timestamp": timestamp if isinstance(timestamp, str) else timestamp.isoformat(),
            "livemode": livemode,
            "data": data,
        },
        default=_written,
    ).encode()


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def event(type: str, **fields: Any) -> Event:
    """Parses such a value into an event."""
    if type.startswith("callfold."):
        return read_stored(value(type, **fields).decode())
    return read(value(type, **fields), NOON + timedelta(days=1))


def table(text: str) -> list[Event]:
    """Parses a table of events, one per line: seconds after noon, id, type, then `livemode` and data as
    `field=value`."""
    events = []
    for line in filter(str.strip, text.splitlines()):
        seconds, id, type, *pairs = line.split()
        data: dict[str, Any] = {}
        livemode: bool | None = None
        for name, _, said in (pair.partition("=") for pair in pairs):
            if name in ("duration", "latency_ms"):
                data[name] = int(said)
            elif name == "cost":
                data[name] = said
            elif name in ("answered_at", "completed_at"):
                data[name] = (NOON + timedelta(seconds=int(said))).isoformat()
            elif name == "livemode":
                livemode = said == "true"
            else:
                data[name] = said
        at = NOON + timedelta(seconds=int(seconds))
        events.append(event(type, id=id, timestamp=at, livemode=livemode, **data))
    return events


_instants = st.integers(0, 6).map(lambda seconds: NOON + timedelta(seconds=seconds))
_data = st.fixed_dictionaries(
    {},
    optional={
        "from_number": st.sampled_from(["+4930123", "anonymous"]),
        "direction": st.sampled_from(["inbound", "outbound"]),
        "phone_number_id": st.sampled_from([UUID(int=1), UUID(int=2)]),
        "status": st.sampled_from(
            ["initiated", "ringing", "in_progress", "completed", "failed", "busy", "no_answer", "canceled"]
        ),
        "duration": st.integers(0, 3),
        "cost": st.sampled_from([Decimal(0), Decimal("1.5"), Decimal("0.0001")]),
        "latency_ms": st.integers(0, 3),
        "hangup_cause": st.sampled_from(["NORMAL_CLEARING", "USER_BUSY"]),
        "recording_url": st.just("https://recordings.example/1.wav"),
        "answered_at": _instants,
        "completed_at": _instants,
    },
)
_published = st.sampled_from(get_args(EventType))
_any_type = st.sampled_from([*get_args(EventType), MISSING_HANGUP])


@st.composite
def _events(
    draw: st.DrawFn, types: st.SearchStrategy[str] = _any_type, call_id: UUID = CALL, most: int = 7
) -> list[Event]:
    events = []
    for n in range(draw(st.integers(1, most))):
        type = draw(types)
        data = {"hangup_cause": "MISSING_HANGUP"} if type == MISSING_HANGUP else draw(_data)
        mode = draw(st.sampled_from([None, True, False]))
        at = draw(_instants)
        events.append(event(type, id=f"evt_{n}", call_id=call_id, timestamp=at, livemode=mode, **data))
    return events


events_of_a_call = _events()
"""1 to 7 distinct events of one call, with equal timestamps, several ends, synthetic ends and gaps."""


def events_of_calls(calls: int) -> st.SearchStrategy[list[list[Event]]]:
    """1 to 4 events of each of several calls, without synthetic ends."""
    return st.tuples(*(_events(_published, UUID(int=n + 1), 4) for n in range(calls))).map(list)

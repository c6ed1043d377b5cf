"""An event's payload is stored without what its row says otherwise, and read back verbatim."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.calls.event import Event, read
from shared.calls.stored_payload import stored_payload
from tests.support.events import CALL, NOON, ORGANIZATION, value

FIELDS = ("id", "type", "organization_id", "call_id", "timestamp", "livemode", "data")
READ_BACK = "SELECT callfold_payload($1, $2, $3, $4)"

_texts = st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text)
_seconds = st.integers(min_value=0, max_value=86_400)


@st.composite
def _events(draw: st.DrawFn) -> Event:
    """Events whose records spell JSON in many ways, and repeat parts of it in other fields."""
    fields: dict[str, Any] = {
        "id": draw(_texts | st.just('","livemode":true,"data":')),
        "type": "call.updated",
        "organization_id": str(ORGANIZATION),
        "call_id": draw(st.sampled_from([str(CALL), str(CALL).upper(), 'CA1","timestamp":"', "\x01"])),
        "timestamp": (NOON + timedelta(seconds=draw(_seconds))).isoformat(),
        "livemode": draw(st.sampled_from([True, False, None])),
        "data": {"transcript": draw(_texts)},
    }
    usual = {"type": "call.updated", "organization_id": str(ORGANIZATION), "call_id": str(CALL)}
    fields |= draw(st.sampled_from([{}, {"first": usual | {"timestamp": NOON.isoformat()}}]))
    order = draw(st.just((*FIELDS, *fields)) | st.permutations(list(fields)))
    colon, comma = draw(st.sampled_from([(":", ","), (": ", ", "), (" : ", ","), (":\t", ",\n")]))
    written = json.dumps(
        {name: fields[name] for name in order}, separators=(comma, colon), ensure_ascii=draw(st.booleans())
    )
    return read(written.encode(errors="surrogatepass"), NOON + timedelta(days=1))


def test_every_payload_is_read_back_verbatim(database_url: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(asyncpg.connect(database_url))

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_events())
        def store_and_read(event: Event) -> None:
            columns = (event.type, event.organization_id, event.call_id)
            back = runner.run(database.fetchval(READ_BACK, stored_payload(event), *columns))
            assert back == event.payload

        try:
            store_and_read()
        finally:
            runner.run(database.close())


COMPACT = json.dumps(json.loads(value("call.ringing")), separators=(",", ":"))
SPACED = value("call.ringing").decode()
OTHERWISE = json.dumps(dict(reversed(json.loads(value("call.ringing")).items())))


@pytest.mark.parametrize(
    ("payload", "stored"),
    [
        (COMPACT, '{"id":"evt_1"\x012026-11-24T12:00:00+00:00\x02{}}'),
        (SPACED, '{"id": "evt_1"\x032026-11-24T12:00:00+00:00\x04{}}'),
        (OTHERWISE, OTHERWISE),
    ],
    ids=["compact", "spaced", "in another order"],
)
def test_what_the_row_says_is_left_out(payload: str, stored: str) -> None:
    assert stored_payload(read(payload.encode(), NOON)) == stored

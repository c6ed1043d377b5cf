"""The recording of one call: a link to it, and what its source said of it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from services.api.access.credentials import MayReadCalls
from services.api.calls import documentation
from services.api.calls.parameter_types import storable_text
from services.api.calls.recording_store import RecordingStore
from services.api.calls.running_api import Api
from services.api.http.answers import answer
from services.api.http.errors import no_recording, no_such_call
from services.api.http.paths import CallId
from services.api.http.query import query_parameters, read_query
from shared.database.statement import Statement
from shared.monitoring import logs

# The event `recording.ready` has the properties of a recording: the requested event, or else the latest.
RECORDING: Final = Statement("""
SELECT nullif(recording_url, '') AS recording_url, (
    SELECT callfold_payload(payload, type, organization_id, call_id)
    FROM call_events
    WHERE call_events.organization_id = :organization_id AND call_id = :call_id AND type = 'recording.ready'
        AND (:event_id::text IS NULL OR call_events.id = :event_id)
    ORDER BY occurred_at DESC, call_events.id COLLATE "C" DESC
    LIMIT 1
) AS payload
FROM calls
WHERE organization_id = :organization_id AND livemode = :livemode AND id = :call_id
""")

EventId = Annotated[
    str,
    Field(max_length=128),
    AfterValidator(storable_text),
    WithJsonSchema({"type": "string", "maxLength": 128, "pattern": r"^[^\u0000]+$"}),
]

router = APIRouter(tags=["calls"])


class RecordingQuery(BaseModel):
    """The query parameters of `GET /calls/{id}/recording`."""

    recording: EventId | SkipJsonSchema[None] = Field(
        None,
        description="The id of one of the call's recordings, from `recordings` in its detail. Default: the "
        "latest.",
        examples=["evt_7Qm2"],
    )


async def recording_query(request: Request) -> RecordingQuery:
    """The dependency that reads the query. Raises the 400 `ApiError`."""
    return read_query(request, RecordingQuery)


@router.get(
    "/calls/{id}/recording",
    openapi_extra={"parameters": query_parameters(RecordingQuery)},
    **documentation.GET_RECORDING,
)
async def get_recording(
    request: Request,
    principal: MayReadCalls,
    call_id: CallId,
    query: Annotated[RecordingQuery, Depends(recording_query)],
) -> Response:
    """Returns a link to the call's latest recording, or to the one in `recording`, and its known properties.
    If the recording is in the store that the operator configured, callfold signs the link: every holder of
    the link can use it until `expires_at`. Otherwise the link is the one that the source sent."""
    logs.about(call_id=call_id)
    api = Api.of(request)
    async with api.databases.reading.snapshot(principal.organization_id) as connection:
        row = await RECORDING.fetchrow(
            connection,
            organization_id=principal.organization_id,
            livemode=principal.livemode,
            call_id=call_id,
            event_id=query.recording,
        )
    if row is None:
        raise no_such_call()
    url, payload = row["recording_url"], row["payload"]
    if query.recording is not None:
        url = _url(payload) if payload is not None else None
    if url is None:
        raise no_recording()
    # A link is a secret until it expires.
    return answer(
        recording(url, payload, api.recording_store, api.clock()), headers={"Cache-Control": "no-store"}
    )


def recording(
    url: str, payload: str | None, store: RecordingStore | None, now: datetime
) -> dict[str, object]:
    """The properties of a recording, from its URL and the payload of its event `recording.ready`; unknown
    ones are null. The store signs a link that is valid from `now`."""
    said = _said(url, payload)
    signed = store.signed(url, now) if store else None
    end = now + timedelta(seconds=store.link_seconds) if store and signed else None
    return {
        "recording_url": signed or web_link(url),
        "expires_at": end or _instant(said, "expires_at", "recording_expires_at"),
        **_of_itself(said, url),
    }


def recording_of(id_: str, ready_at: datetime, payload: str) -> dict[str, object]:
    """A recording of a call's detail, from the id, time and payload of its event `recording.ready`."""
    url = _url(payload)
    return {
        "id": id_,
        "url": web_link(url),
        "created_at": ready_at,
        **_of_itself(_said(url, payload), url),
    }


def _of_itself(said: Mapping[str, Any], url: str | None) -> dict[str, object]:
    """The known properties of a recording itself, independent of its link."""
    return {
        "duration_seconds": _number(said, "recording_duration", "duration_seconds", "duration"),
        "format": _text(said, "recording_format", "format") or (_suffix(url) if url else None),
        "size_bytes": _whole(_number(said, "size_bytes", "recording_size", "size")),
    }


def _url(payload: str) -> str | None:
    """The recording's URL in the payload of an event `recording.ready`; None if there is no URL."""
    url = (_decode(payload).data or {}).get("recording_url")
    return url if isinstance(url, str) and url else None


def web_link(url: str | None) -> str | None:
    """The URL, if it is an http or https URL with a host, else None. Any other might run as a script."""
    if url is None or not _is_plain(url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None


_is_plain = re.compile(r"[^\s\x00-\x20\x7f\\]+").fullmatch
_of_path = re.compile(r"\.([A-Za-z0-9]{1,8})$").search


def _said(url: str | None, payload: str | None) -> Mapping[str, Any]:
    """The data of this recording's event `recording.ready`; empty if the event is of another recording."""
    if payload is None:
        return {}
    data = _decode(payload).data or {}
    return data if data.get("recording_url") in (None, "", url) else {}


class _Payload(msgspec.Struct):
    data: dict[str, Any] | None = None


# A number that exceeds a float becomes infinite, and then counts as unknown.
_decode = msgspec.json.Decoder(_Payload, float_hook=float).decode


def _number(said: Mapping[str, Any], *names: str) -> float | int | None:
    """The first of these values that is a number, or a text with a number."""
    for name in names:
        value = said.get(name)
        if isinstance(value, str) and _is_number(value):
            value = float(value) if "." in value else int(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53:
            return value
    return None


_is_number = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?").fullmatch


def _whole(number: float | None) -> int | None:
    return int(number) if number is not None and number == int(number) else None


def _text(said: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = said.get(name)
        if isinstance(value, str) and 0 < len(value) <= 100:
            return value
    return None


def _suffix(url: str) -> str | None:
    """The format by the suffix of the path: mp3 for `…/1.mp3?version=2`."""
    found = _of_path(re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[2])
    return found[1].lower() if found else None


def _instant(said: Mapping[str, Any], *names: str) -> datetime | None:
    """The first of these values that is an RFC 3339 timestamp with an offset, converted to UTC."""
    for name in names:
        try:
            instant = msgspec.convert(said.get(name), datetime)
            if instant.tzinfo is not None:
                return instant.astimezone(UTC)
        except (msgspec.ValidationError, OverflowError):
            pass
    return None

"""The answers: every field with its meaning. The OpenAPI document is generated from these models, and the
tests compare real answers with them."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypeAliasType

from services.api.figures.models import CallStats, CallTrends, Cents
from shared.calls import event

# Named types, so that generated clients also have them.
CallStatus = TypeAliasType(
    "CallStatus", Annotated[event.Status, Field(description="The current state of a call, or how it ended.")]
)
CallDirection = TypeAliasType(
    "CallDirection",
    Annotated[event.Direction, Field(description="The direction, from the organization's point of view.")],
)
EventType = TypeAliasType(
    "EventType",
    Annotated[
        Literal[event.EventType, "callfold.missing_hangup"], Field(description="What the event reports.")
    ],
)

CALL_EXAMPLE: dict[str, Any] = {
    "id": "0b8f6c1e-7a52-5c55-8d3a-0a4b8f1c2d3e",
    "external_id": "3848276298220188511@atlanta.example.com",
    "from_number": "+4930901820",
    "to_number": "+498912345678",
    "direction": "inbound",
    "status": "completed",
    "duration": 93,
    "cost": 4.65,
    "latency_ms": 412,
    "phone_number_id": "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11",
    "endpoint_id": None,
    "recording_url": "https://recordings.example.com/0b8f6c1e.mp3",
    "hangup_cause": "NORMAL_CLEARING",
    "organization_id": "b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9a01",
    "livemode": True,
    "created_at": "2026-11-24T10:00:00.123000Z",
    "answered_at": "2026-11-24T10:00:07.500000Z",
    "completed_at": "2026-11-24T10:01:40.500000Z",
    "transcript": None,
}
NDJSON_EXAMPLE: str = json.dumps(CALL_EXAMPLE, separators=(",", ":")) + "\n"
CSV_EXAMPLE: str = (
    ",".join(CALL_EXAMPLE)
    + "\r\n"
    + ",".join("" if value is None else str(value) for value in CALL_EXAMPLE.values()).replace(",+", ",'+")
    + "\r\n"
).replace("True", "true")
EVENT_EXAMPLE: dict[str, Any] = {
    "id": "evt_7Qm2",
    "type": "call.completed",
    "timestamp": "2026-11-24T10:01:40.500000Z",
    "livemode": True,
    "data": {"duration": 93, "cost": 4.65, "hangup_cause": "NORMAL_CLEARING", "campaign": "autumn"},
}
EVENTS_EXAMPLE: dict[str, Any] = {
    "data": [EVENT_EXAMPLE],
    "total": 1,
    "offset": 0,
    "limit": 100,
    "next_offset": None,
}
CALL_RECORDING_EXAMPLE: dict[str, Any] = {
    "id": "evt_8Rn3",
    "url": "https://recordings.example.com/0b8f6c1e.mp3",
    "created_at": "2026-11-24T10:01:45Z",
    "duration_seconds": 86,
    "format": "mp3",
    "size_bytes": 345600,
}
RECORDING_EXAMPLE: dict[str, Any] = {
    "recording_url": "https://recordings.example.com/0b8f6c1e.mp3",
    "expires_at": None,
    "duration_seconds": 86,
    "format": "mp3",
    "size_bytes": 345600,
}
LIST_EXAMPLE: dict[str, Any] = {
    "data": [CALL_EXAMPLE],
    "total": 120,
    "page": 1,
    "offset": 0,
    "limit": 1,
    "total_pages": 120,
    "next_cursor": "J8kH0vM3xk2c7cVf2m1nRZOhMNf_AAAAAGWg2wDYEAuPbB56UlxVjToKS48cLT4",
    "transcripts_left_out": [],
}


class Call(BaseModel):
    """A call: the result of all its events so far."""

    model_config = ConfigDict(json_schema_extra={"examples": [CALL_EXAMPLE]})

    id: UUID = Field(
        description="The call's id: the source's own UUID, or a UUID derived from `external_id`."
    )
    external_id: str | None = Field(description="The source's own call id, if it is not a UUID.")
    from_number: str | None = Field(description="The caller's number: E.164, or as the source sent it.")
    to_number: str | None = Field(description="The called number: E.164, or as the source sent it.")
    direction: CallDirection | None = Field(
        description="The direction, from the organization's point of view; null until known."
    )
    status: CallStatus = Field(description="The current state of the call, or how it ended.")
    duration: int | None = Field(description="Duration in seconds, as the source reported it.", ge=0)
    cost: Cents | None = Field(description="Cost in cents, with up to 4 decimals.")
    latency_ms: int | None = Field(description="Latency in milliseconds, as the source reported it.", ge=0)
    phone_number_id: UUID | None = Field(description="The organization's phone number of this call.")
    endpoint_id: UUID | None = Field(description="The organization's endpoint of this call.")
    recording_url: str | None = Field(description="The URL of the recording, as the source sent it.")
    hangup_cause: str | None = Field(description="Why the call ended, as the source reported it.")
    organization_id: UUID = Field(description="The organization that the call belongs to.")
    livemode: bool = Field(description="False for test traffic.")
    created_at: datetime = Field(description="When the call was initiated, in UTC.")
    answered_at: datetime | None = Field(description="When the call was answered, in UTC.")
    completed_at: datetime | None = Field(description="When the call ended, in UTC.")
    transcript: str | None = Field(description="The transcript, once the source has sent it.")


class Event(BaseModel):
    """An event of a call, as its source published it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENT_EXAMPLE]})

    id: str = Field(description="The event's id, as the source sent it.")
    type: EventType = Field(
        description="The kind of event. callfold itself adds `callfold.missing_hangup` to a call that never "
        "ended."
    )
    timestamp: datetime = Field(description="The event's own timestamp, in UTC.")
    livemode: bool = Field(description="False for test traffic.")
    data: dict[str, Any] = Field(
        description="The event's data exactly as the source sent it, with all its fields."
    )


class Recording(BaseModel):
    """A call's recording."""

    url: str | None = Field(
        description="The http or https link that the source sent; null if it is not such a link."
    )


class CallRecording(BaseModel):
    """One of a call's recordings, from its event `recording.ready`."""

    model_config = ConfigDict(json_schema_extra={"examples": [CALL_RECORDING_EXAMPLE]})

    id: str = Field(
        description="The id of the event `recording.ready`. Send it as `recording` to "
        "`/calls/{id}/recording`."
    )
    url: str | None = Field(description="The http or https link that the source sent; null if it sent none.")
    created_at: datetime = Field(description="The event's own timestamp, in UTC.")
    duration_seconds: float | None = Field(
        description="Length of the recording, as the source reported it; not the call's duration.", ge=0
    )
    format: str | None = Field(
        description="Format, as the source reported it, or else the suffix of the URL's path.",
        examples=["mp3"],
    )
    size_bytes: int | None = Field(description="Size, as the source reported it.", ge=0)


class CallDetail(Call):
    """A call with its events and its recordings."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **CALL_EXAMPLE,
                    "recording": {"url": CALL_EXAMPLE["recording_url"]},
                    "recordings": [CALL_RECORDING_EXAMPLE],
                    "events": [EVENT_EXAMPLE],
                    "events_total": 1,
                }
            ]
        }
    )

    recording: Recording | None = Field(description="The latest recording. Null while the call has none.")
    recordings: list[CallRecording] = Field(
        description="One recording per event `recording.ready`, ordered by timestamp, then id: at most the "
        "first 1,000, or the first 4 MiB of events."
    )
    events: list[Event] = Field(
        description="The events of the call, ordered by timestamp, then id: at most the first 1,000, or the "
        "first 4 MiB."
    )
    events_total: int = Field(
        description="How many events the call has. `/calls/{id}/events` returns all of them.", ge=0
    )


class EventList(BaseModel):
    """A page of a call's events."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENTS_EXAMPLE]})

    data: list[Event] = Field(description="The events of this page, ordered by timestamp, then id.")
    total: int = Field(description="How many events the call has.", ge=0)
    offset: int = Field(description="How many events come before this page.", ge=0)
    limit: int = Field(description="The most events that a page has; large events make it end earlier.", ge=1)
    next_offset: int | None = Field(description="The offset of the next page; null on the last page.", ge=1)


class RecordingLink(BaseModel):
    """A link to a call's recording, and its known properties."""

    model_config = ConfigDict(json_schema_extra={"examples": [RECORDING_EXAMPLE]})

    recording_url: str | None = Field(
        description="An http or https link to the recording; null if the source sent none."
    )
    expires_at: datetime | None = Field(description="When the link expires, in UTC; null if that is unknown.")
    duration_seconds: float | None = Field(
        description="Length of the recording, as the source reported it.", ge=0
    )
    format: str | None = Field(
        description="Format, as the source reported it, or else the suffix of the URL's path.",
        examples=["mp3"],
    )
    size_bytes: int | None = Field(description="Size, as the source reported it.", ge=0)


class CallList(BaseModel):
    """A page of the list of calls: the answer without `action`."""

    model_config = ConfigDict(json_schema_extra={"examples": [LIST_EXAMPLE]})

    data: list[Call] = Field(description="The calls of this page, in the requested order.")
    total: int | None = Field(
        description="The exact number of calls on all pages. Null with `total=false`.", ge=0
    )
    page: int | None = Field(
        description="The number of this page, or of the page in which it begins, from 1. Null with `cursor`.",
        ge=1,
    )
    offset: int | None = Field(
        description="How many calls of the list come before this page. Null with `cursor`.", ge=0
    )
    limit: int = Field(description="The maximum number of calls per page.", ge=1)
    total_pages: int | None = Field(
        description="How many pages there are; 0 without calls. Null with `total=false`.", ge=0
    )
    next_cursor: str | None = Field(
        description="Send it as `cursor` to get the next page; null on the last page."
    )
    transcripts_left_out: list[UUID] = Field(
        description="Calls of this page that have a `transcript` which is null here, because the page's "
        "transcripts exceed 4 MiB. Request such a call by itself, or smaller pages."
    )


def _exactly_one(schema: dict[str, Any]) -> None:
    schema["oneOf"] = schema.pop("anyOf")


class CallsAnswer(RootModel[CallList | CallStats | CallTrends]):
    """A page of the list without `action`; the status breakdown with `stats`; the daily counts with
    `trends`."""

    model_config = ConfigDict(json_schema_extra=_exactly_one)

"""The answers: every field with its meaning. They make the OpenAPI document, and the tests hold the real
answers to them."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypeAliasType

from services.api.figures.models import CallStats, CallTrends, Cents
from shared.calls import event

# Types with names, so that a generated client has them, too.
CallStatus = TypeAliasType(
    "CallStatus", Annotated[event.Status, Field(description="How far a call is, or how it ended.")]
)
CallDirection = TypeAliasType(
    "CallDirection", Annotated[event.Direction, Field(description="As the organization sees the call.")]
)
EventType = TypeAliasType(
    "EventType",
    Annotated[
        Literal[event.EventType, "callfold.missing_hangup"], Field(description="What an event tells of.")
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
    """A call: all that its events say of it so far."""

    model_config = ConfigDict(json_schema_extra={"examples": [CALL_EXAMPLE]})

    id: UUID = Field(description="The call's id: its source's, or one made of its `external_id`.")
    external_id: str | None = Field(description="The source's own call id, where that is no UUID.")
    from_number: str | None = Field(description="Who called: E.164, or what the source has.")
    to_number: str | None = Field(description="Who was called: E.164, or what the source has.")
    direction: CallDirection | None = Field(description="As the organization sees it; null until known.")
    status: CallStatus = Field(description="How far the call is, or how it ended.")
    duration: int | None = Field(description="Seconds, as the source counted them.", ge=0)
    cost: Cents | None = Field(description="Cents, with up to 4 decimals.")
    latency_ms: int | None = Field(description="The source's latency, in milliseconds.", ge=0)
    phone_number_id: UUID | None = Field(description="The organization's phone number of this call.")
    endpoint_id: UUID | None = Field(description="The organization's endpoint of this call.")
    recording_url: str | None = Field(description="Where the source keeps the recording.")
    hangup_cause: str | None = Field(description="Why the call ended, in the source's words.")
    organization_id: UUID = Field(description="Whose call it is.")
    livemode: bool = Field(description="False for test traffic.")
    created_at: datetime = Field(description="When the call was initiated, in UTC.")
    answered_at: datetime | None = Field(description="When it was answered, in UTC.")
    completed_at: datetime | None = Field(description="When it ended, in UTC.")
    transcript: str | None = Field(description="What was said, once the source has written it down.")


class Event(BaseModel):
    """An event of a call, as its source published it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENT_EXAMPLE]})

    id: str = Field(description="The source's id of the event.")
    type: EventType = Field(
        description="What happened. `callfold.missing_hangup` is callfold's own: a call that never ended."
    )
    timestamp: datetime = Field(description="The event's own time, in UTC.")
    livemode: bool = Field(description="False for test traffic.")
    data: dict[str, Any] = Field(description="The event's data exactly as it was sent, with all its fields.")


class Recording(BaseModel):
    """A call's recording."""

    url: str | None = Field(
        description="Where the source keeps it: a link of http or https; null where it is none."
    )


class CallRecording(BaseModel):
    """One of a call's recordings, by the event that it is ready."""

    model_config = ConfigDict(json_schema_extra={"examples": [CALL_RECORDING_EXAMPLE]})

    id: str = Field(
        description="The id of the event `recording.ready`: what to ask for as `recording` at "
        "`/calls/{id}/recording`."
    )
    url: str | None = Field(
        description="Where the source keeps it: a link of http or https; null where it named none."
    )
    created_at: datetime = Field(description="The event's own time, in UTC.")
    duration_seconds: float | None = Field(
        description="How long the recording is, as its source said; the call's duration is another.", ge=0
    )
    format: str | None = Field(
        description="Its format, as its source said, or as the URL's path ends.", examples=["mp3"]
    )
    size_bytes: int | None = Field(description="How large it is, as its source said.", ge=0)


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
        description="One for each event `recording.ready`, by timestamp, then id: the first 1,000, or "
        "4 MiB of events."
    )
    events: list[Event] = Field(
        description="The events of the call, by timestamp, then id: the first 1,000, or 4 MiB of them."
    )
    events_total: int = Field(
        description="How many events the call has; those beyond `events` are at `/calls/{id}/events`.", ge=0
    )


class EventList(BaseModel):
    """A page of a call's events."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENTS_EXAMPLE]})

    data: list[Event] = Field(description="The events of this page, by timestamp, then id.")
    total: int = Field(description="How many events the call has.", ge=0)
    offset: int = Field(description="How many of them are before this page.", ge=0)
    limit: int = Field(description="How many a page has at most; fewer where they are large.", ge=1)
    next_offset: int | None = Field(description="The offset of the next page; null after the last.", ge=1)


class RecordingLink(BaseModel):
    """A link to a call's recording, and what is known of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [RECORDING_EXAMPLE]})

    recording_url: str | None = Field(
        description="A link of http or https to the recording; null where its source named none."
    )
    expires_at: datetime | None = Field(
        description="When the link stops working, in UTC; null where that is not known."
    )
    duration_seconds: float | None = Field(description="How long it is, as its source said.", ge=0)
    format: str | None = Field(
        description="Its format, as its source said, or as the URL's path ends.", examples=["mp3"]
    )
    size_bytes: int | None = Field(description="How large it is, as its source said.", ge=0)


class CallList(BaseModel):
    """A page of the list of calls: the answer without `action`."""

    model_config = ConfigDict(json_schema_extra={"examples": [LIST_EXAMPLE]})

    data: list[Call] = Field(description="The calls of this page, in the asked order.")
    total: int | None = Field(
        description="How many calls there are on all pages: exact. Null with `total=false`.", ge=0
    )
    page: int | None = Field(
        description="The page that this is, or in which it begins, from 1. Null with `cursor`.", ge=1
    )
    offset: int | None = Field(
        description="How many calls of the list come before this page. Null with `cursor`.", ge=0
    )
    limit: int = Field(description="How many calls a page has at most.", ge=1)
    total_pages: int | None = Field(
        description="How many pages there are; 0 without calls. Null with `total=false`.", ge=0
    )
    next_cursor: str | None = Field(
        description="What to ask for as `cursor` to get the next page; null where there is none."
    )
    transcripts_left_out: list[UUID] = Field(
        description="The calls of this page whose `transcript` is null here alone: the page's are over 4 MiB "
        "together. Ask for each call by itself, or for smaller pages."
    )


def _exactly_one(schema: dict[str, Any]) -> None:
    schema["oneOf"] = schema.pop("anyOf")


class CallsAnswer(RootModel[CallList | CallStats | CallTrends]):
    """By `action`: a page of the list (absent), the status breakdown (`stats`) or the daily counts
    (`trends`)."""

    model_config = ConfigDict(json_schema_extra=_exactly_one)

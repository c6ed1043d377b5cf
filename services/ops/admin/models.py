"""The bodies of requests and answers of the admin API: every field with its meaning."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.ops.sources.last_deliveries import DELIVERIES_MAX, RECORDS_EXAMINED_MAX

IDS_MAX = 100
OUTBOX_COUNTED_MAX = 100_000
WAITING_COUNTED_MAX = 10_000
DELIVERIES_EXAMINED = 1_000
DIFFERENCES_STORED = 25


class PartitionLag(BaseModel):
    """How far ingest has read one partition."""

    partition: int = Field(description="The number of the partition.")
    committed: int = Field(description="The next offset that ingest reads.")
    end: int = Field(description="The offset of the next new record.")
    lag: int = Field(description="The records that ingest has not read.")


class TopicLag(BaseModel):
    """How far ingest has read one topic."""

    topic: str = Field(description="The name of the topic.")
    kind: Literal["events", "deliveries", "source"] = Field(
        description="`events`: the topic of events. `deliveries`: requests that the receiver accepted. "
        "`source`: the records of one source."
    )
    exists: bool = Field(description="Whether Kafka has the topic.")
    lag: int = Field(description="The records that ingest has not read, over all partitions.")
    partitions: list[PartitionLag] = Field(description="The partitions, by their numbers.")


class Lag(BaseModel):
    """How far the pipeline is behind. Two answers give the rate of ingest."""

    at: datetime = Field(description="When the offsets were measured.")
    topics: list[TopicLag] = Field(description="The topic of events first, then those of sources.")
    waiting_deltas: int = Field(
        description="Changes of counts that the aggregator has not applied. Answers include them."
    )
    oldest_delta_seconds: float | None = Field(
        description="The age of the oldest of these changes, in seconds. Null: there is none."
    )
    outbox_changes: int = Field(
        description="Statements whose changed calls the publisher has not published, counted up to "
        f"{OUTBOX_COUNTED_MAX:,}."
    )
    outbox_is_more: bool = Field(description="Whether the outbox has more than were counted.")


class QuarantinedRecord(BaseModel):
    """A record that ingest did not store as an event."""

    id: UUID = Field(description="The id of the record.")
    quarantined_at: datetime = Field(description="When ingest quarantined it.")
    produced_at: datetime | None = Field(description="The record's own timestamp.")
    topic: str = Field(description="The topic of the record.")
    partition: int = Field(description="The partition of the record.")
    offset: int = Field(description="The offset of the record.")
    organization_id: UUID | None = Field(description="The organization that the record names.")
    call_id: UUID | None = Field(description="The call that the record names. The nil UUID: several calls.")
    reason: str = Field(description="Why it is not an event. The text may quote the record.")


class QuarantinedRecords(BaseModel):
    """A page of quarantined records, the newest first."""

    data: list[QuarantinedRecord] = Field(description="The records.")
    next_cursor: str | None = Field(description="`cursor` of the next page. Null after the last one.")


class QuarantineReason(BaseModel):
    """The quarantined records of one topic with the same reason."""

    records: int = Field(description="The number of records.")
    topic: str = Field(description="The topic of these records.")
    reason: str = Field(description="Their reason.")
    oldest: datetime = Field(description="When the oldest was quarantined.")
    newest: datetime = Field(description="When the newest was quarantined.")


class QuarantineReasons(BaseModel):
    """The reasons of quarantined records, the most frequent first."""

    data: list[QuarantineReason] = Field(description="The reasons.")


class Bytes(BaseModel):
    """Bytes of a record as a person reads them."""

    size: int = Field(description="The number of bytes.")
    text: str = Field(
        description="JSON is indented, and other text is as it is. Anything else is hexadecimal."
    )
    is_whole: bool = Field(description="Whether the text shows all of the bytes.")


class RecordHeader(BaseModel):
    """A header of a record."""

    name: str = Field(description="The name of the header.")
    value: Bytes = Field(description="Its value.")


class QuarantinedContent(QuarantinedRecord):
    """A quarantined record with its content."""

    source_id: UUID | None = Field(description="The source of a delivery. Null: it is not a delivery.")
    waits: bool = Field(
        description="Whether ingest retries it by itself when another delivery names its organization."
    )
    key: Bytes | None = Field(description="The key of the record. Null: it has none.")
    value: Bytes | None = Field(description="The value of the record. Null: it has none, or it was erased.")
    headers: list[RecordHeader] = Field(description="The headers of the record, in their order.")


class RecordIds(BaseModel):
    """The quarantined records to work on."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"ids": ["5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111"]}]}
    )

    ids: Annotated[list[UUID], Field(min_length=1, max_length=IDS_MAX)] = Field(
        description="The ids of the records."
    )


class Redriven(BaseModel):
    """What became of retried records."""

    retried: int = Field(description="The records that were retried. Others no longer exist.")
    accepted: int = Field(description="The records that were stored and left the quarantine.")
    still_quarantined: int = Field(description="The records that stay, with their present reason.")
    reasons: list[QuarantineReason] = Field(
        description="The present reasons of the records that stay, the most frequent first."
    )


class Discarded(BaseModel):
    """What became of discarded records."""

    discarded: int = Field(description="The records that were removed. Others no longer existed.")


class Source(BaseModel):
    """A telephony system that delivers in its own form."""

    id: UUID = Field(description="The id of the source.")
    name: str = Field(description="Its name.")
    dialect: str = Field(description="The form of its deliveries.")
    kind: Literal["http", "kafka"] = Field(
        description="`http`: it calls the receiver. `kafka`: ingest reads its topic."
    )
    topic: str | None = Field(description="The topic of its records. Null: it calls the receiver.")
    hook_path: str | None = Field(description="The path at the receiver. Null: it has a topic.")
    enabled: bool = Field(description="Whether its deliveries are accepted.")
    organization_id: UUID | None = Field(
        description="The organization of records that name none. Null: records must name one."
    )
    organization_name: str | None = Field(description="The name of this organization.")
    organizations_mapped: int = Field(description="How many values of records are mapped to organizations.")
    waiting_records: int = Field(
        description="Deliveries that wait until another one names their organization, counted up to "
        f"{WAITING_COUNTED_MAX:,}."
    )
    quarantined_records: int = Field(
        description=f"Its other quarantined records, among the newest {WAITING_COUNTED_MAX:,} of all topics."
    )
    created_at: datetime = Field(description="When it was created.")
    changed_at: datetime = Field(description="When it was changed.")


class Sources(BaseModel):
    """All sources, by name."""

    data: list[Source] = Field(description="The sources.")


class LastDelivery(BaseModel):
    """A delivery of a source, and how ingest would read it now."""

    partition: int = Field(description="Its partition.")
    offset: int = Field(description="Its offset.")
    produced_at: datetime | None = Field(description="The timestamp of its record. Null: it has none.")
    size_bytes: int = Field(description="The size of its body, in bytes.", ge=0)
    events: list[str] = Field(description="The types of its events.")
    waiting: int = Field(
        description="How many of its elements wait until another delivery names their organization.", ge=0
    )
    reasons: list[str] = Field(
        description="Why ingest would quarantine elements of it. A reason may quote a value."
    )


class LastDeliveries(BaseModel):
    """The last deliveries of a source, the newest first. Requests that the receiver refused are not among
    them: it does not keep them."""

    topic: str = Field(description="The topic that has them.")
    topic_exists: bool = Field(description="Whether Kafka has this topic.")
    records_examined: int = Field(
        description=f"How many of the newest records were read, of this source and of others: at most "
        f"{RECORDS_EXAMINED_MAX} of each partition.",
        ge=0,
    )
    deliveries: list[LastDelivery] = Field(description=f"At most {DELIVERIES_MAX} deliveries.")


class AdminWebhook(BaseModel):
    """An endpoint of an organization that gets messages about changed calls."""

    id: UUID = Field(description="The id of the webhook.")
    organization_id: UUID = Field(description="The organization.")
    organization_name: str = Field(description="The name of the organization.")
    livemode: bool = Field(description="true: its messages are about live calls. false: about test calls.")
    host: str = Field(description="The host of its URL. The rest may hold secrets of the customer.")
    enabled: bool = Field(description="Whether it gets messages.")
    disabled_reason: str | None = Field(description="Why callfold disabled it. Null if it did not.")
    failing_since: datetime | None = Field(description="The first failure after the last success.")
    waiting_deliveries: int = Field(
        description=f"Deliveries that will be sent, or sent again, counted up to {WAITING_COUNTED_MAX:,}."
    )
    failed_deliveries: int = Field(
        description=f"Deliveries that were given up, among its newest {DELIVERIES_EXAMINED:,}."
    )
    last_failure_at: datetime | None = Field(
        description=f"The last attempt that failed, among its newest {DELIVERIES_EXAMINED:,} deliveries."
    )
    last_failure_status: int | None = Field(
        description="The HTTP status of this attempt. Null: no answer, or no failure."
    )
    created_at: datetime = Field(description="When it was created.")


class AdminWebhooks(BaseModel):
    """A page of the webhooks of all organizations."""

    data: list[AdminWebhook] = Field(description="The webhooks.")
    next_cursor: str | None = Field(description="`cursor` of the next page. Null after the last one.")


ProofState = Literal["running", "exact", "not_exact", "failed", "lost"]


class Proof(BaseModel):
    """A recorded run of `callfold verify`."""

    id: UUID = Field(description="The id of the proof.")
    state: ProofState = Field(
        description="`running`: it has not finished. `exact`: everything is proved. `not_exact`: there are "
        "differences, or calls that `callfold refold` must fold again. `failed`: it ended with an error. "
        "`lost`: it ended without a result."
    )
    started_at: datetime = Field(description="When it started.")
    heartbeat_at: datetime = Field(description="When it was last known to run.")
    finished_at: datetime | None = Field(description="When it finished. Null: it has not, or it is lost.")
    calls_done: int = Field(description="The calls that it has proved so far.")
    calls_expected: int | None = Field(
        description="About how many calls there are. Null: it is not known, as during the proof of counts."
    )
    exact: bool | None = Field(description="Whether everything is proved. Null: there is no result.")
    cells: int | None = Field(description="The proved cells of counts.")
    calls: int | None = Field(description="The proved calls.")
    events: int | None = Field(description="The events of these calls.")
    deltas: int | None = Field(description="The deltas that waited.")
    differences_found: int | None = Field(description="The number of differences.")
    differences: list[str] = Field(
        description=f"The first {DIFFERENCES_STORED} differences. For a call they name the fields and no "
        "values, which `callfold verify` prints."
    )
    error: str | None = Field(description="Why the proof failed, as a sentence. Null: it did not.")


class Proofs(BaseModel):
    """Recorded proofs, the newest first."""

    data: list[Proof] = Field(description="The proofs.")

"""The difference between the topic of calls and the calls. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from services.ops.proof.newest_record import CallKey, Content, NewestRecord

TOPIC_DIFFERENCES_KEPT: Final = 10_000

TopicKind = Literal["missing", "surplus", "older", "value", "headers", "partition", "foreign"]
MENDED_BY_PUBLISHING: Final[frozenset[TopicKind]] = frozenset({"missing", "older", "value", "headers"})
"""The kinds that a new record of each stored call replaces."""


@dataclass(frozen=True)
class TopicDifference:
    """A difference. Without a record, partition and offset are None; with a foreign key, the ids are."""

    kind: TopicKind
    organization_id: UUID | None
    call_id: UUID | None
    partition: int | None
    offset: int | None
    topic_revision: int | None = None
    stored_revision: int | None = None

    def __str__(self) -> str:
        place = f"partition {self.partition} offset {self.offset}"
        if self.kind == "foreign":
            return f"{place}: the key is not ORGANIZATION:CALL"
        stored, in_topic = self.stored_revision, self.topic_revision
        sentences: dict[TopicKind, str] = {
            "missing": f"the topic lacks it, must have revision {stored}",
            "surplus": f"{place} has it, PostgreSQL does not",
            "older": f"{place} has revision {in_topic}, must be {stored}",
            "value": f"{place} has another value than revision {stored}",
            "headers": f"{place} has other headers than revision {stored}",
            "partition": f"{place} has an outdated record of it, beside the present one in another partition",
        }
        return f"call {self.call_id} of organization {self.organization_id}: {sentences[self.kind]}"


@dataclass
class TopicFindings:
    """The differences. All are counted; only the first are kept, so that memory stays bounded."""

    differences: list[TopicDifference] = field(default_factory=list)
    kinds: set[TopicKind] = field(default_factory=set)
    count: int = 0

    @property
    def is_mended_by_publishing(self) -> bool:
        """Whether a new record of each stored call replaces every wrong record."""
        return self.kinds <= MENDED_BY_PUBLISHING

    def add(self, difference: TopicDifference) -> None:
        self.count += 1
        self.kinds.add(difference.kind)
        if len(self.differences) < TOPIC_DIFFERENCES_KEPT:
            self.differences.append(difference)


def topic_difference(
    call: CallKey, records: Sequence[NewestRecord], must: Content | None
) -> TopicDifference | None:
    """Compares the newest record of each partition that has a call's key with the stored call. `must` is None
    if PostgreSQL has no such call. Returns None if they are equal."""
    present = [record for record in records if record.content is not None]
    stored = None if must is None else must.revision
    if must is None:
        if not present:
            return None
        return _difference("surplus", call, present[0], stored)
    if not present:
        # Kafka removes a null value after some time. So its place tells nothing.
        return TopicDifference("missing", *call, None, None, None, stored)
    wrong = [record for record in records if not _is(record.content, must)]
    if not wrong:
        return None
    if len(wrong) < len(records):
        return _difference("partition", call, wrong[0], stored)
    return _difference(_kind(present[0].content, must), call, present[0], stored)


def foreign(record: NewestRecord) -> TopicDifference:
    """The difference for a key that no call can have."""
    return TopicDifference("foreign", None, None, record.partition, record.offset)


def _is(content: Content | None, must: Content) -> bool:
    # A change of a time zone raises the stored revision, and publishes nothing.
    return (
        content is not None
        and (content.value, content.headers) == (must.value, must.headers)
        and 0 <= content.revision <= must.revision
    )


def _kind(content: Content | None, must: Content) -> TopicKind:
    if content is None or content.value == must.value:
        return "headers"
    if 0 <= content.revision < must.revision:
        return "older"
    return "value"


def _difference(kind: TopicKind, call: CallKey, record: NewestRecord, stored: int | None) -> TopicDifference:
    revision = None if record.content is None or record.content.revision < 0 else record.content.revision
    return TopicDifference(kind, *call, record.partition, record.offset, revision, stored)

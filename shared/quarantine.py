"""Quarantine: where a record goes that can't become an event, with its bytes and the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

from aiokafka import ConsumerRecord as Record

from shared.database import Connection

NO_TIMESTAMP: Final = -1
"""Kafka's, of a record without one."""
_NAMESPACE: Final = UUID("0f1b4f0e-6b0a-5c55-9d0c-3a1f6f3a7c11")


@dataclass(frozen=True)
class BadRecord:
    """A record with the rule that it breaks, in a sentence; and the rule alone, without anything of the
    record, where the sentence has more."""

    record: Record
    reason: str
    rule: str | None = None

    @property
    def id(self) -> UUID:
        """One for each record of each topic that ever had this name: the time tells a topic made anew. Lines
        of a file have no time: the value tells another file of the same name."""
        record = self.record
        place = f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp}"
        if record.timestamp == NO_TIMESTAMP:
            place += f"/{sha256(record.value or b'').hexdigest()}"
        return uuid5(_NAMESPACE, place)


def readable(name: str) -> str:
    """A header's name as text that a database takes: what is none is written as `\\xff`."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace").replace("\0", "\\0")


_INSERT: Final = """
INSERT INTO quarantined_records
    (id, topic, partition, "offset", produced_at, key, value, header_names, header_values, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO NOTHING
"""


async def write_quarantine(connection: Connection, bad_records: Sequence[BadRecord]) -> None:
    """Keeps the records, within the caller's transaction; one that is kept already stays as it is."""
    await connection.executemany(
        _INSERT,
        [
            (
                bad.id,
                bad.record.topic,
                bad.record.partition,
                bad.record.offset,
                _produced_at(bad.record.timestamp),
                bad.record.key,
                bad.record.value,
                [readable(name) for name, _ in bad.record.headers],
                [value for _, value in bad.record.headers],
                bad.reason.replace("\0", "\\0"),
            )
            for bad in bad_records
        ],
    )


def _produced_at(timestamp_ms: int) -> datetime | None:
    """A record's timestamp; none where the producer set one that no calendar has."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None

"""Sources in the database: their configuration, the organizations of their calls, and phone numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record

from shared.calls.event import call_uuid
from shared.calls.organization_tombstone import organization_tombstone
from shared.database.connection import AnyConnection
from shared.database.statement import Statement
from shared.secret_box import SecretBox, SecretsLocked
from shared.sources.source import Source

SOURCES_MAX: Final = 10_000
"""The most sources of a database."""
SOURCE_CALLS_KEPT: Final = timedelta(days=30)
"""How long the organization of a source's call is remembered for deliveries that cannot name it."""
CHUNK_CALLS: Final = 5_000
NUMBERS_MAX: Final = 1_000_000
"""The most phone numbers that ingest holds in memory."""


@dataclass(frozen=True)
class StoredSource:
    """A source as it is stored. `locked` says why its secrets cannot be read; its `source` then has none."""

    source: Source
    enabled: bool
    created_at: datetime
    changed_at: datetime
    locked: str | None = None


async def read_sources(connection: AnyConnection, box: SecretBox) -> list[StoredSource]:
    """All sources, by name. Raises asyncpg's errors."""
    return [stored_source(row, box) for row in await _READ.fetch(connection, most=SOURCES_MAX)]


@dataclass(frozen=True)
class KnownSources:
    """All sources and phone numbers at one moment. `numbers` holds a number's id by organization and
    number."""

    by_id: Mapping[UUID, StoredSource] = field(default_factory=dict)
    numbers: Mapping[tuple[UUID, str], UUID] = field(default_factory=dict)

    @cached_property
    def by_topic(self) -> Mapping[str, StoredSource]:
        """The sources that have a topic of their own, by its name."""
        return {one.source.topic: one for one in self.by_id.values() if one.source.topic is not None}


async def read_known_sources(connection: AnyConnection, box: SecretBox) -> KnownSources:
    """All sources and numbers. Raises asyncpg's errors."""
    stored = await read_sources(connection, box)
    return KnownSources({one.source.id: one for one in stored}, await read_numbers(connection))


async def read_source(connection: AnyConnection, source_id: UUID, box: SecretBox) -> StoredSource | None:
    """The source with this id; None if there is none."""
    row = await _READ_ONE.fetchrow(connection, id=source_id)
    return stored_source(row, box) if row is not None else None


def stored_source(row: Record, box: SecretBox) -> StoredSource:
    """The source in a row of the table."""
    try:
        secrets, locked = box.decrypted(row["secrets"]), None
    except SecretsLocked as error:
        secrets, locked = {}, str(error)
    organizations = msgspec.json.decode(row["organizations"])
    return StoredSource(
        Source(
            id=row["id"],
            name=row["name"],
            dialect=row["dialect"],
            organization=row["serves"],
            organizations={value: UUID(id_) for value, id_ in organizations.items()},
            organizations_by=row["organizations_by"],
            secrets=secrets,
            settings=msgspec.json.decode(row["settings"]),
            url=row["url"],
            topic=row["topic"],
        ),
        row["enabled"],
        row["created_at"],
        row["changed_at"],
        locked,
    )


CallOfSource = tuple[UUID, str]
"""A source and a call's id in it."""


async def read_organizations_of_calls(
    connection: AnyConnection, calls: Sequence[CallOfSource]
) -> dict[CallOfSource, set[UUID]]:
    """The organizations that records have named for these calls. A call that no record has named is left
    out."""
    if not calls:
        return {}
    found: dict[CallOfSource, set[UUID]] = {}
    source_ids, call_ids = zip(*calls, strict=True)
    rows = await _READ_CALLS.fetch(connection, source_ids=list(source_ids), call_ids=list(call_ids))
    for source_id, call_id, organization_id in rows:
        found.setdefault((source_id, call_id), set()).add(organization_id)
    return found


async def write_organizations_of_calls(
    connection: AnyConnection, named: Iterable[tuple[UUID, UUID, str]]
) -> None:
    """Stores organizations that records name for calls: organization, source and the call's id in it. Deleted
    calls and organizations are left out."""
    rows = {
        (organization, source, call): {
            (organization, call_uuid(organization, call)),
            (organization, organization_tombstone(organization)),
        }
        for organization, source, call in named
    }
    if not rows:
        return
    organizations, calls = zip(*set().union(*rows.values()), strict=True)
    found = await _DELETED.fetch(connection, organizations=list(organizations), calls=list(calls))
    deleted = {(row["organization_id"], row["call_id"]) for row in found}
    stored = sorted(row for row, keys in rows.items() if keys.isdisjoint(deleted))
    if stored:
        organizations, sources, names = zip(*stored, strict=True)
        await _WRITE_CALLS.fetch(
            connection, organizations=list(organizations), sources=list(sources), calls=list(names)
        )


async def forget_source_calls(connection: AnyConnection, before: datetime) -> int:
    """Forgets the organizations of calls that records named before this time (aware), in chunks, and returns
    the number of calls. Raises asyncpg's errors."""
    forgotten = 0
    while rows := len(await _FORGET_CALLS.fetch(connection, before=before, most=CHUNK_CALLS)):
        forgotten += rows
    return forgotten


async def read_numbers(connection: AnyConnection) -> dict[tuple[UUID, str], UUID]:
    """The id of each phone number, by organization and number."""
    rows = await _READ_NUMBERS.fetch(connection, most=NUMBERS_MAX)
    return {(organization_id, number): id_ for organization_id, number, id_ in rows}


_READ: Final = Statement("SELECT * FROM sources ORDER BY name LIMIT :most::integer")

_READ_ONE: Final = Statement("SELECT * FROM sources WHERE id = :id::uuid")

_READ_CALLS: Final = Statement("""
SELECT source_id, call_id, organization_id
FROM unnest(:source_ids::uuid[], :call_ids::text[]) AS key(source_id, call_id)
    JOIN source_calls USING (source_id, call_id)
""")

# Citus refuses this as a part of the next statement.
_DELETED: Final = Statement("""
SELECT organization_id, call_id
FROM unnest(:organizations::uuid[], :calls::uuid[]) AS key(organization_id, call_id)
    JOIN deleted_calls USING (organization_id, call_id)
""")

_WRITE_CALLS: Final = Statement("""
INSERT INTO source_calls (organization_id, source_id, call_id)
SELECT * FROM unnest(:organizations::uuid[], :sources::uuid[], :calls::text[])
ON CONFLICT DO NOTHING
""")

_FORGET_CALLS: Final = Statement("""
DELETE FROM source_calls WHERE (organization_id, source_id, call_id) IN (
    SELECT organization_id, source_id, call_id FROM source_calls WHERE seen_at < :before::timestamptz
    LIMIT :most::integer FOR UPDATE SKIP LOCKED)
RETURNING 1
""")

_READ_NUMBERS: Final = Statement(
    "SELECT organization_id, number, phone_number_id FROM phone_numbers LIMIT :most::integer"
)

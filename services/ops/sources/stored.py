"""Sources in the database, as commands change them. Each change and its audit line are one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from services.ops.sources.configuration import hook_path
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit
from shared.calls.lenient import is_uuid
from shared.database.connection import Connection
from shared.database.statement import Statement
from shared.dialects.registry import DIALECTS
from shared.secret_box import SecretBox, SecretsLocked
from shared.sources.source import Source
from shared.store.sources import SOURCES_MAX, StoredSource, stored_source


@dataclass(frozen=True)
class SourceSummary:
    """A source without its secrets, as commands print it."""

    id: UUID
    name: str
    dialect: str
    hook_path: str | None
    topic: str | None


def summary(source: Source) -> SourceSummary:
    """The summary of a source. A source with a topic has no address."""
    path = None if source.topic is not None else hook_path(source.id)
    return SourceSummary(source.id, source.name, source.dialect, path, source.topic)


def shown(stored: StoredSource) -> dict[str, object]:
    """Everything about a source but the values of its secrets."""
    source = stored.source
    return {
        **{name: getattr(summary(source), name) for name in SourceSummary.__dataclass_fields__},
        "enabled": stored.enabled,
        "organization_id": source.organization,
        "organizations": mapped_values(source),
        "organizations_by": source.organizations_by,
        "secrets": sorted(source.secrets) if stored.locked is None else None,
        "settings": source.settings,
        "url": source.url,
        "created_at": stored.created_at,
        "changed_at": stored.changed_at,
    }


def mapped_values(source: Source) -> dict[str, UUID]:
    """The mapped values and their organizations. Of a value that is a secret, only its begin is shown."""
    dialect = DIALECTS.get(source.dialect)
    by = source.organizations_by or (dialect.organizations_by if dialect is not None else None)
    if dialect is None or by not in {secret.name for secret in dialect.secrets}:
        return dict(source.organizations)
    return {f"{value[:4]}…": id_ for value, id_ in source.organizations.items()}


async def find_source(
    connection: Connection, name_or_id: str, box: SecretBox, *, to_change: bool = False
) -> StoredSource:
    """The source with this name or id. With `to_change`, no other transaction changes it until the caller's
    ends. Raises Failure if there is none."""
    id_ = UUID(name_or_id) if is_uuid(name_or_id) else None
    row = await (_FIND_TO_CHANGE if to_change else _FIND).fetchrow(connection, name=name_or_id, id=id_)
    if row is None:
        raise Failure(f"There is no source {name_or_id!r}. `callfold source list` lists them.")
    return stored_source(row, box)


async def store_source(
    connection: Connection, source: Source, box: SecretBox, *, is_new: bool, changed: str = ""
) -> None:
    """Creates or changes a source, with its audit line. `changed` says what changed, without values. Raises
    Failure for a name or a topic that another source has."""
    if is_new and await connection.fetchval("SELECT count(*) FROM sources") >= SOURCES_MAX:
        raise Failure(f"There are {SOURCES_MAX:,} sources, which is the limit.")
    try:
        async with connection.transaction():
            await (_CREATE if is_new else _CHANGE).fetch(connection, **_parameters(source, box))
            action = "source created" if is_new else "source changed"
            details = f"{source.name}, {source.dialect}{f': {changed}' if changed else ''}"
            await audit(connection, action, source.organization, details, subject=source.id)
    except SecretsLocked as locked:
        raise Failure(f"{locked} `callfold source new-key` generates a key.") from None
    except asyncpg.UniqueViolationError as error:
        # The key of a shard ends with the shard's number.
        if not (error.constraint_name or "").startswith("sources_topic_key"):
            raise Failure(f"Another source has the name {source.name}.") from None
        owner = await connection.fetchval("SELECT name FROM sources WHERE topic = $1", source.topic)
        raise Failure(f"The source {owner} has the topic {source.topic} already.") from None


async def enable_source(connection: Connection, source: Source, *, enabled: bool) -> None:
    """Enables or disables a source, with its audit line."""
    async with connection.transaction():
        await _ENABLE.fetch(connection, id=source.id, enabled=enabled)
        action = "source enabled" if enabled else "source disabled"
        await audit(connection, action, source.organization, source.name, subject=source.id)


async def delete_source(connection: Connection, source: Source) -> None:
    """Deletes a source and what it knows of calls, with its audit line. Its calls stay."""
    async with connection.transaction():
        await _FORGET_CALLS.fetch(connection, id=source.id)
        await _DELETE.fetch(connection, id=source.id)
        await audit(connection, "source deleted", source.organization, source.name, subject=source.id)


def _parameters(source: Source, box: SecretBox) -> Mapping[str, Any]:
    return {
        "id": source.id,
        "name": source.name,
        "dialect": source.dialect,
        "serves": source.organization,
        "organizations": msgspec.json.encode(
            {value: str(id_) for value, id_ in source.organizations.items()}
        ).decode(),
        "organizations_by": source.organizations_by,
        "secrets": box.encrypted(source.secrets),
        "settings": msgspec.json.encode(source.settings).decode(),
        "url": source.url,
        "topic": source.topic,
    }


_FIND: Final = Statement("SELECT * FROM sources WHERE name = :name::text OR id = :id::uuid")

_FIND_TO_CHANGE: Final = Statement(f"{_FIND.sql} FOR UPDATE")

_CREATE: Final = Statement("""
INSERT INTO sources
    (id, name, dialect, serves, organizations, organizations_by, secrets, settings, url, topic)
VALUES (:id::uuid, :name::text, :dialect::text, :serves::uuid, :organizations::jsonb, :organizations_by::text,
        :secrets::bytea, :settings::jsonb, :url::text, :topic::text)
""")

_CHANGE: Final = Statement("""
UPDATE sources SET name = :name::text, dialect = :dialect::text, serves = :serves::uuid,
    organizations = :organizations::jsonb, organizations_by = :organizations_by::text,
    secrets = :secrets::bytea, settings = :settings::jsonb, url = :url::text, topic = :topic::text,
    changed_at = now()
WHERE id = :id::uuid
""")

_ENABLE: Final = Statement(
    "UPDATE sources SET enabled = :enabled::boolean, changed_at = now() WHERE id = :id::uuid"
)

_FORGET_CALLS: Final = Statement("DELETE FROM source_calls WHERE source_id = :id::uuid")

_DELETE: Final = Statement("DELETE FROM sources WHERE id = :id::uuid")

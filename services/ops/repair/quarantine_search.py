"""The search for quarantined records that name an organization, or contain one of its numbers."""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from shared.database.connection import Connection
from shared.store.quarantine import HAS_CONTENT

CHUNK_RECORDS: Final = 500
_FIRST: Final = UUID(int=0)


async def records_of(
    connection: Connection, organization_id: UUID, mentioned: Sequence[str] = ()
) -> AsyncIterator[Sequence[UUID]]:
    """The ids of an organization's quarantined records, in chunks: records whose column has its id, and
    records without an organization whose value contains it. With `mentioned`, only records whose key, value
    or headers contain one of these texts. They match in UTF-8 and UTF-16, and with a plus escaped as in
    JSON and in forms. Raises asyncpg's errors."""
    ids = [str(organization_id).encode(), str(organization_id).upper().encode()]
    texts = [written for text in mentioned for written in _written(text)]
    last = _FIRST
    while rows := await connection.fetch(_RECORDS, organization_id, ids, texts, last, CHUNK_RECORDS):
        found = [id_ for (id_,) in rows]
        last = found[-1]
        yield found


def _written(text: str) -> list[bytes]:
    """The byte sequences in which programs write a text."""
    plus_signs = ("\\u002b", "\\u002B", "%2b", "%2B") if "+" in text else ()
    escaped = [text.replace("+", plus).encode() for plus in plus_signs]
    return [text.encode(), *escaped, text.encode("utf-16-le"), text.encode("utf-16-be")]


async def count_content(connection: Connection, ids: Sequence[UUID]) -> int:
    """The number of these records that have content; the others only record a fact. Raises asyncpg's
    errors."""
    found: int = await connection.fetchval(_COUNT_CONTENT, ids)
    return found


async def remove_records(connection: Connection, ids: Sequence[UUID]) -> int:
    """Removes these records. Returns the number of those that still existed. Raises asyncpg's errors."""
    return len(await connection.fetch(_REMOVE, ids))


# Records without an organization are not parsed: the search is for the id as JSON writes it.
_RECORDS: Final = """
SELECT id FROM quarantined_records AS record
WHERE id > $4
    AND (organization_id = $1
         OR organization_id IS NULL
             AND EXISTS (SELECT FROM unnest($2::bytea[]) AS text(bytes) WHERE position(bytes IN value) > 0))
    AND (cardinality($3::bytea[]) = 0
         OR EXISTS (SELECT FROM unnest($3::bytea[]) AS text(bytes)
                    WHERE position(bytes IN value) > 0 OR position(bytes IN key) > 0
                        OR EXISTS (SELECT FROM unnest(header_values) AS header(value)
                                   WHERE position(bytes IN header.value) > 0)))
ORDER BY id LIMIT $5
"""

_COUNT_CONTENT: Final = f"""
SELECT count(*) FROM quarantined_records WHERE id = ANY($1::uuid[]) AND {HAS_CONTENT}
"""

_REMOVE: Final = "DELETE FROM quarantined_records WHERE id = ANY($1::uuid[]) RETURNING id"

"""`GET /admin/sources`."""

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from services.api.http.answers import answer
from services.api.http.query import no_query
from services.ops.admin import documentation
from services.ops.admin.models import WAITING_COUNTED_MAX
from services.ops.admin.running_admin import RunningAdmin
from services.ops.sources.configuration import hook_path
from shared.database.statement import Statement
from shared.store.sources import SOURCES_MAX

router = APIRouter(tags=["sources"], dependencies=[Depends(no_query)])


@router.get("/sources", **documentation.LIST_SOURCES)
async def list_all(request: Request) -> Response:
    """Returns all sources, by name, without their secrets, settings and mapped values."""
    async with RunningAdmin.of(request).connection() as connection:
        rows = await _SOURCES.fetch(connection, most=SOURCES_MAX, examined=WAITING_COUNTED_MAX)
    return answer({"data": [_shown(dict(row)) for row in rows]})


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    source_id: UUID = row["id"]
    by_topic = row["topic"] is not None
    return {
        **row,
        "kind": "kafka" if by_topic else "http",
        "hook_path": None if by_topic else hook_path(source_id),
    }


# The newest rows are found by the indexes of quarantined_at and seen_at.
_SOURCES: Final = Statement("""
WITH newest_records AS (
    SELECT source_id, waits_for, quarantined_at FROM quarantined_records
    ORDER BY quarantined_at DESC LIMIT :examined::integer
), quarantined AS (
    SELECT source_id, count(*) FILTER (WHERE waits_for IS NULL) AS records, max(quarantined_at) AS at
    FROM newest_records WHERE source_id IS NOT NULL GROUP BY source_id
), newest_calls AS (
    SELECT source_id, seen_at FROM source_calls ORDER BY seen_at DESC LIMIT :examined::integer
), seen AS (
    SELECT source_id, max(seen_at) AS at FROM newest_calls GROUP BY source_id
)
SELECT source.id, source.name, source.dialect, source.topic, source.enabled,
    source.serves AS organization_id, organization.name AS organization_name,
    (SELECT count(*) FROM jsonb_object_keys(source.organizations))::integer AS organizations_mapped,
    (SELECT count(*) FROM (
        SELECT FROM quarantined_records AS record
        WHERE record.source_id = source.id AND record.waits_for IS NOT NULL LIMIT :examined::integer
    ) AS waiting)::integer AS waiting_records,
    coalesce(quarantined.records, 0)::integer AS quarantined_records,
    greatest(quarantined.at, seen.at) AS last_trace_at,
    source.created_at, source.changed_at
FROM sources AS source
    LEFT JOIN organizations AS organization ON organization.id = source.serves
    LEFT JOIN quarantined ON quarantined.source_id = source.id
    LEFT JOIN seen ON seen.source_id = source.id
ORDER BY source.name LIMIT :most::integer
""")

"""`/admin/sources`: the sources and their last deliveries."""

from dataclasses import asdict
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from services.api.http.answers import answer
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError
from services.api.http.query import no_query
from services.ops.admin import documentation
from services.ops.admin.models import WAITING_COUNTED_MAX
from services.ops.admin.running_admin import RunningAdmin
from services.ops.sources.configuration import hook_path
from services.ops.sources.last_deliveries import as_ingest_reads, newest_records
from shared.database.statement import Statement
from shared.secret_box import SecretBox
from shared.store.sources import SOURCES_MAX, read_source

SourceId = Annotated[UUID, Path(alias="id", description="The id of the source.")]

router = APIRouter(tags=["sources"], dependencies=[Depends(no_query)])


@router.get("/sources", **documentation.LIST_SOURCES)
async def list_all(request: Request) -> Response:
    """Returns all sources, by name, without their secrets, settings and mapped values."""
    async with RunningAdmin.of(request).connection() as connection:
        rows = await _SOURCES.fetch(connection, most=SOURCES_MAX, examined=WAITING_COUNTED_MAX)
    return answer({"data": [_shown(dict(row)) for row in rows]})


@router.get("/sources/{id}/deliveries", **documentation.LIST_LAST_DELIVERIES)
async def list_deliveries(request: Request, source_id: SourceId) -> Response:
    """Reads the newest records of the source's topic, or of the topic of deliveries, and returns those of the
    source. Each is read as ingest would read it now. It joins no consumer group."""
    admin = RunningAdmin.of(request)
    topic = admin.settings.deliveries_topic
    async with admin.connection() as connection:
        # No secret is needed: a delivery was verified before it was kept.
        stored = await read_source(connection, source_id, SecretBox([]))
    if stored is None:
        raise ApiError(ErrorCode.NOT_FOUND, "There is no source with this id.")
    async with admin.kafka():
        newest = await newest_records(admin.settings, stored, topic)
    async with admin.connection() as connection:
        deliveries = await as_ingest_reads(connection, newest.records, stored, topic, admin.clock())
    return answer(
        {
            "topic": newest.topic,
            "topic_exists": newest.topic_exists,
            "records_examined": newest.records_examined,
            "deliveries": [asdict(one) for one in deliveries],
        }
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    source_id: UUID = row["id"]
    by_topic = row["topic"] is not None
    return {
        **row,
        "kind": "kafka" if by_topic else "http",
        "hook_path": None if by_topic else hook_path(source_id),
    }


# The newest rows are found by the index of quarantined_at.
_SOURCES: Final = Statement("""
WITH newest_records AS (
    SELECT source_id, waits_for FROM quarantined_records
    ORDER BY quarantined_at DESC LIMIT :examined::integer
), quarantined AS (
    SELECT source_id, count(*) FILTER (WHERE waits_for IS NULL) AS records
    FROM newest_records WHERE source_id IS NOT NULL GROUP BY source_id
)
SELECT source.id, source.name, source.dialect, source.topic, source.enabled,
    source.serves AS organization_id, organization.name AS organization_name,
    (SELECT count(*) FROM jsonb_object_keys(source.organizations))::integer AS organizations_mapped,
    (SELECT count(*) FROM (
        SELECT FROM quarantined_records AS record
        WHERE record.source_id = source.id AND record.waits_for IS NOT NULL LIMIT :examined::integer
    ) AS waiting)::integer AS waiting_records,
    coalesce(quarantined.records, 0)::integer AS quarantined_records,
    source.created_at, source.changed_at
FROM sources AS source
    LEFT JOIN organizations AS organization ON organization.id = source.serves
    LEFT JOIN quarantined ON quarantined.source_id = source.id
ORDER BY source.name LIMIT :most::integer
""")

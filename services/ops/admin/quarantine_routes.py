"""`/admin/quarantine`: the records that ingest did not store as events."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from services.api.http.answers import answer
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError
from services.api.http.query import no_query
from services.ops.admin import documentation
from services.ops.admin.models import IDS_MAX, Bytes, RecordIds
from services.ops.admin.queries import (
    Place,
    QuarantineQuery,
    ReasonsQuery,
    cursor_of,
    place_of,
    quarantine_query,
    reasons_query,
)
from services.ops.admin.running_admin import ACTOR, LONG_STATEMENT_SECONDS, RunningAdmin, failed
from services.ops.repair.quarantined_records import (
    Choice,
    count_by_reason,
    discard_chosen,
    find_record,
    list_records,
    redrive_chosen,
)
from services.ops.terminal.failure import Failure
from services.ops.terminal.readable import BYTES_SHOWN_MAX, lines_of

router = APIRouter(prefix="/quarantine", tags=["quarantine"])

RecordId = Annotated[UUID, Path(alias="id", description="The id of the record.")]


@router.get("", **documentation.LIST_QUARANTINED_RECORDS)
async def list_all(
    request: Request, query: Annotated[QuarantineQuery, Depends(quarantine_query)]
) -> Response:
    """Returns quarantined records, the newest first, without their content."""
    after = place_of(query.cursor)
    async with RunningAdmin.of(request).connection() as connection:
        rows = await list_records(connection, _choice(query), query.limit + 1, after=after)
    page = rows[: query.limit]
    more = len(rows) > len(page)
    following = cursor_of(Place(page[-1]["quarantined_at"], page[-1]["id"])) if more else None
    return answer({"data": [dict(row) for row in page], "next_cursor": following})


@router.get("/reasons", **documentation.LIST_QUARANTINE_REASONS)
async def list_reasons(request: Request, query: Annotated[ReasonsQuery, Depends(reasons_query)]) -> Response:
    """Returns the number of quarantined records of each topic and reason, the most frequent first."""
    async with RunningAdmin.of(request).connection() as connection:
        rows = await count_by_reason(connection, _choice(query), query.limit)
    return answer({"data": [dict(row) for row in rows]})


@router.get("/{id}", dependencies=[Depends(no_query)], **documentation.GET_QUARANTINED_RECORD)
async def get(request: Request, record_id: RecordId) -> Response:
    """Returns one record with its content as a person reads it. Of long values, only the beginning is
    shown."""
    async with RunningAdmin.of(request).connection() as connection:
        row = await find_record(connection, record_id)
    if row is None:
        raise ApiError(ErrorCode.NOT_FOUND, "There is no record with this id in the quarantine.")
    return answer(_content(dict(row)))


@router.post("/redrive", dependencies=[Depends(no_query)], **documentation.REDRIVE_QUARANTINED_RECORDS)
async def redrive(request: Request, records: RecordIds) -> Response:
    """Retries records as if they arrived now, like `callfold quarantine redrive`. Accepted records are stored
    and counted. The others stay, with their present reason."""
    admin = RunningAdmin.of(request)
    chosen = Choice(ids=records.ids)
    async with admin.connection(LONG_STATEMENT_SECONDS) as connection:
        try:
            done = await redrive_chosen(
                connection, chosen, admin.clock, admin.settings.deliveries_topic, actor=ACTOR
            )
        except Failure as failure:
            raise failed(failure) from failure
        reasons = await count_by_reason(connection, chosen, IDS_MAX)
    return answer({**vars(done), "reasons": [dict(row) for row in reasons]})


@router.post("/discard", dependencies=[Depends(no_query)], **documentation.DISCARD_QUARANTINED_RECORDS)
async def discard(request: Request, records: RecordIds) -> Response:
    """Removes records permanently, like `callfold quarantine discard`. The audit log keeps the position of
    each record, but not its content."""
    async with RunningAdmin.of(request).connection(LONG_STATEMENT_SECONDS) as connection:
        try:
            discarded = await discard_chosen(connection, Choice(ids=records.ids), ACTOR)
        except Failure as failure:
            raise failed(failure) from failure
    return answer({"discarded": discarded})


def _choice(query: ReasonsQuery) -> Choice:
    return Choice(
        reason=query.reason or None, topic=query.topic or None, organization_id=query.organization_id
    )


_LISTED = (
    "id",
    "quarantined_at",
    "produced_at",
    "topic",
    "partition",
    "offset",
    "organization_id",
    "call_id",
    "reason",
    "source_id",
)


def _content(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in _LISTED},
        "waits": row["waits_for"] is not None,
        "key": _bytes(row["key"]),
        "value": _bytes(row["value"]),
        "headers": [
            {"name": name, "value": _bytes(value)}
            for name, value in zip(row["header_names"], row["header_values"], strict=True)
        ],
    }


def _bytes(value: bytes | None) -> dict[str, Any] | None:
    if value is None:
        return None
    shown = Bytes(
        size=len(value),
        text="\n".join(line.removeprefix("  ") for line in lines_of(value)) if value else "",
        is_whole=len(value) <= BYTES_SHOWN_MAX,
    )
    return shown.model_dump()

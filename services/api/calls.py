"""The list of calls; and the one route that also serves stats and trends."""

import math
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

from asyncpg import Record
from fastapi import APIRouter, Depends, Request, Response

from services.api import documentation, models
from services.api.answers import answered
from services.api.counts import CELLS
from services.api.credentials import AnyCaller, require
from services.api.database import Connection, Databases
from services.api.encoding import answer, number
from services.api.filters import CallsQuery, Filters, calls_query, filters_of
from services.api.stats import stats
from services.api.trends import trends
from shared.count import NO_DIRECTION, local_day

FIELDS: Final = tuple(models.Call.model_fields)
COLUMNS: Final = ", ".join(FIELDS)

# `day` decides; `created_at`, a day wider on both sides than any time zone moves a day, bounds the index.
LIST: Final = f"""
SELECT total.calls AS total, page.*
FROM (SELECT coalesce(sum(calls), 0)::bigint AS calls FROM {CELLS}) AS total
LEFT JOIN (
    SELECT {COLUMNS}
    FROM calls
    WHERE organization_id = $1 AND livemode = $2
        AND ($3::date IS NULL OR day >= $3 AND created_at >= ($3::date - 1)::timestamp AT TIME ZONE 'UTC')
        AND ($4::date IS NULL OR day <= $4 AND created_at < ($4::date + 2)::timestamp AT TIME ZONE 'UTC')
        AND ($5::text[] IS NULL OR status = ANY ($5))
        AND ($6::text IS NULL OR coalesce(direction, $8::text) = $6)
        AND ($7::uuid IS NULL OR phone_number_id = $7)
    ORDER BY created_at DESC, id DESC
    LIMIT $9 OFFSET $10
) AS page ON true
ORDER BY page.created_at DESC, page.id DESC
"""  # noqa: S608 - made of constants

router = APIRouter(tags=["calls"])


@router.get("/calls", **documentation.GET_CALLS)
async def get_calls(
    request: Request, caller: AnyCaller, query: Annotated[CallsQuery, Depends(calls_query)]
) -> Response:
    """The list of calls, newest first; with `action=stats` the status breakdown; with `action=trends` the
    daily counts. All three take the same filters, and their numbers agree at any moment: with each other
    and with the calls."""
    databases: Databases = request.app.state.databases
    now: datetime = request.app.state.clock()
    require(caller, "analytics:read" if query.action else "calls:read")
    filters = filters_of(caller, query)
    if query.action == "stats":
        return await answered(
            request, caller, ("stats", filters), lambda connection: stats(connection, filters, caller.zone)
        )
    if query.action == "trends":
        today = local_day(now, caller.zone)
        return await answered(
            request,
            caller,
            ("trends", filters, today),
            lambda connection: trends(connection, filters, caller.zone, today),
        )
    async with databases.reading.snapshot(caller.organization_id) as connection:
        return answer(await calls(connection, filters, query.page, query.limit))


async def calls(connection: Connection, filters: Filters, page: int, limit: int) -> dict[str, object]:
    """One page of the asked calls and their exact total, of one snapshot."""
    offset = (page - 1) * limit
    rows = await connection.fetch(LIST, *filters, NO_DIRECTION, limit, offset)
    total: int = rows[0]["total"]
    return {
        "data": [call_of(row) for row in rows if row["id"] is not None],
        "total": total,
        "page": page,
        "limit": limit,
        "total_pages": math.ceil(total / limit),
    }


def call_of(row: Record) -> dict[str, object]:
    """A call as it is answered, from a row with `COLUMNS`."""
    described: dict[str, object] = {field: row[field] for field in FIELDS}
    cost: Decimal | None = row["cost"]
    described["cost"] = None if cost is None else number(cost)
    return described

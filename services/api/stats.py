"""Stats: the status breakdown of any span."""

from decimal import Decimal
from typing import Final, get_args
from zoneinfo import ZoneInfo

from services.api.counts import CELLS
from services.api.database import Connection
from services.api.encoding import number
from services.api.filters import Filters
from shared.count import NO_DIRECTION
from shared.event import Direction, Status

STATS: Final = f"""
SELECT status, direction,
    sum(calls)::bigint AS calls,
    sum(answered)::bigint AS answered,
    sum(duration_seconds)::bigint AS duration_seconds,
    sum(cost_cents) AS cost_cents,
    sum(latency_ms)::bigint AS latency_ms,
    sum(latency_calls)::bigint AS latency_calls
FROM {CELLS}
GROUP BY status, direction
"""  # noqa: S608 - made of constants


async def stats(connection: Connection, filters: Filters, zone: ZoneInfo) -> dict[str, object]:
    """The status breakdown of the asked calls; a ratio without a denominator is null."""
    by_status = dict.fromkeys(get_args(Status), 0)
    by_direction = dict.fromkeys((*get_args(Direction), NO_DIRECTION), 0)
    total = answered = duration = latency = latency_calls = 0
    cost = Decimal(0)
    for row in await connection.fetch(STATS, *filters):
        total += row["calls"]
        by_status[row["status"]] += row["calls"]
        by_direction[row["direction"]] += row["calls"]
        answered += row["answered"]
        duration += row["duration_seconds"]
        cost += row["cost_cents"]
        latency += row["latency_ms"]
        latency_calls += row["latency_calls"]
    return {
        "total": total,
        "by_status": by_status,
        "by_direction": by_direction,
        "answered": answered,
        "answer_rate": answered / total if total else None,
        "total_duration": duration,
        "average_duration": duration / answered if answered else None,
        "total_cost": number(cost),
        "average_latency_ms": latency / latency_calls if latency_calls else None,
        "start_date": filters.start_date,
        "end_date": filters.end_date,
        "time_zone": zone.key,
    }

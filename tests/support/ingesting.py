"""Helpers for ingest: calls to publish, and waiting until all of them are counted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from services.ops.proof.proof import prove
from shared.database.connection import Connection
from tests.support.events import NOON, ORGANIZATION, value
from tests.support.processes import Service, lag, until

GROUP = "test"
StartIngest = Callable[..., Service]


def call(n: int, *, after: int = 0, organization_id: UUID = ORGANIZATION) -> list[bytes]:
    """The events of the n-th call: answered, and completed after a minute."""
    fields: dict[str, Any] = {"call_id": UUID(int=n + 1), "organization_id": organization_id}
    start = NOON - timedelta(hours=1) + timedelta(seconds=n + after)
    return [
        value("call.initiated", id="1", timestamp=start, direction="inbound", **fields),
        value("call.ringing", id="2", timestamp=start + timedelta(seconds=1), **fields),
        value("call.answered", id="3", timestamp=start + timedelta(seconds=5), latency_ms=n, **fields),
        value(
            "call.completed",
            id="4",
            timestamp=start + timedelta(seconds=65),
            duration=60,
            cost="0.5",
            **fields,
        ),
    ]


def keyed(values: list[bytes]) -> list[tuple[bytes, bytes, tuple[()]]]:
    """Records with different keys, so that the events of a call are spread over the partitions."""
    return [(str(n).encode(), value, ()) for n, value in enumerate(values)]


async def caught_up(bootstrap: str, topic: str) -> None:
    await until(lambda: _none_behind(bootstrap, topic), "all records to be committed")


async def _none_behind(bootstrap: str, topic: str) -> bool:
    return await lag(bootstrap, topic, f"{GROUP}-{topic}") == 0


async def counted_calls(database: Connection) -> dict[str, int]:
    """Calls by status: the sum of counts and deltas."""
    rows = await database.fetch(
        "SELECT status, sum(calls)::int AS calls FROM (SELECT status, calls FROM daily_call_counts "
        "UNION ALL SELECT status, calls FROM daily_call_deltas) c GROUP BY status HAVING sum(calls) <> 0"
    )
    return {row["status"]: row["calls"] for row in rows}


async def assert_exact(database_url: str, database: Connection, calls: int) -> None:
    proof = await prove(database_url)
    assert proof.exact, proof.differences
    assert await database.fetchval("SELECT count(*) FROM calls") == calls
    assert await counted_calls(database) == {"completed": calls}
    assert await database.fetchval("SELECT count(*) FROM call_events") == 4 * calls

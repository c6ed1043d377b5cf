"""What docs/deploy.md tells an operator to do to the tables, done."""

import re
from pathlib import Path

from services.ops.proof import prove
from shared.database import Connection
from tests.events import ORGANIZATION, value
from tests.ingesting import StartIngest, call, caught_up, keyed
from tests.processes import publish

DEPLOY = Path(__file__).parent.parent / "docs" / "deploy.md"
DAYS = """
SELECT day::text || ': ' || sum(calls) AS line
FROM (SELECT day, calls FROM daily_call_counts UNION ALL SELECT day, calls FROM daily_call_deltas) AS counted
GROUP BY day HAVING sum(calls) <> 0 ORDER BY day
"""


async def calls_by_day(database: Connection) -> list[str]:
    return [row["line"] for row in await database.fetch(DAYS)]


def statement(time_zone: str) -> str:
    """The runbook's statement, with an operator's values in it."""
    found = re.search(
        r"tests/test_runbook.py runs this. -->\n```sql\n(.*?)```", DEPLOY.read_text(), re.DOTALL
    )
    assert found
    return found[1].replace("TIME_ZONE", time_zone).replace("ORGANIZATION", str(ORGANIZATION))


async def test_a_wrong_time_zone_is_mended(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """Its events came before somebody made it, so it was made in UTC."""
    late = [
        value("call.initiated", call_id=at, timestamp=at, direction="outbound", latency_ms=5)
        for at in ("2026-11-23T23:30:00Z", "2026-11-23T12:00:00Z")
    ]
    await publish(bootstrap, topic, keyed([*late, *call(0)]))
    ingest = start_ingest()
    await caught_up(bootstrap, topic)
    assert ingest.stop() == 0
    assert await calls_by_day(database) == ["2026-11-23: 2", "2026-11-24: 1"]

    for _ in range(2):  # again: it changes nothing
        await database.execute(statement("Europe/Berlin"))
        assert await calls_by_day(database) == ["2026-11-23: 1", "2026-11-24: 2"]
        proof = await prove(database_url)
        assert proof.exact, proof.differences

    await publish(
        bootstrap, topic, [value("call.completed", id="2", call_id="2026-11-23T23:30:00Z", duration=3)]
    )
    start_ingest()
    await caught_up(bootstrap, topic)
    assert (await prove(database_url)).exact

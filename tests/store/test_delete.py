"""A call deleted over the API stays deleted, even if events of it arrive later through Kafka."""

from datetime import timedelta
from uuid import UUID

from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get, serving
from tests.support.events import NOON, value
from tests.support.pipeline import Pipeline

GONE, KEPT = UUID(int=1), UUID(int=2)


async def test_a_deleted_call_stays_deleted_through_late_events_and_redelivery(
    pipeline: Pipeline, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    acme = await seed.tenant(database, "Europe/Berlin")

    def event(type: str, call_id: UUID, id: str, minutes: int, **data: object) -> bytes:
        at = NOON - timedelta(minutes=60 - minutes)
        return value(type, id=id, call_id=call_id, organization_id=acme.id, timestamp=at, **data)  # type: ignore[arg-type]

    begun = [
        event(type, call, id, minutes, direction="inbound")
        for call in (GONE, KEPT)
        for type, id, minutes in (("call.initiated", "1", 0), ("call.answered", "2", 1))
    ]
    spoken = {call: event("call.noted", call, "5", 1, transcript=f"I am {call}") for call in (GONE, KEPT)}
    await pipeline.publish([*begun, *spoken.values()])
    ingest = pipeline.start()
    await pipeline.consumed()
    async with serving(database_url) as api:
        assert (await get(api, acme, "/calls"))["total"] == 2
        assert (await api.delete(f"/calls/{GONE}", headers=bearing(acme.key))).status_code == 204

        async def assert_only_the_other_is_there(status: str) -> None:
            assert [call["id"] for call in (await get(api, acme, "/calls"))["data"]] == [str(KEPT)]
            stats = await get(api, acme, "/calls", action="stats")
            assert (stats["total"], stats["by_status"][status], stats["answered"]) == (1, 1, 1)
            trends = await get(api, acme, "/calls", action="trends")
            assert sum(day["total"] for day in trends["data"]) == 1
            assert (await api.get(f"/calls/{GONE}", headers=bearing(acme.key))).status_code == 404
            await pipeline.assert_proved()

        await assert_only_the_other_is_there("in_progress")
        assert await _records_with_content(database) == [spoken[KEPT]]
        ended = [event("call.completed", call, "3", 5, duration=240, cost="2.5") for call in (GONE, KEPT)]
        await pipeline.publish([*ended, spoken[GONE]])
        await pipeline.consumed()
        await assert_only_the_other_is_there("completed")
        assert ingest.stop() == 0
        pipeline.start(consumer_group="again")
        await pipeline.consumed("again")
        await assert_only_the_other_is_there("completed")
        assert await _records_with_content(database) == [spoken[KEPT]]
    assert await database.fetchval("SELECT array_agg(call_id) FROM deleted_calls") == [GONE]


async def _records_with_content(database: Connection) -> list[bytes]:
    """The content of the quarantine."""
    rows = await database.fetch("SELECT value FROM quarantined_records WHERE value IS NOT NULL")
    return [row["value"] for row in rows]

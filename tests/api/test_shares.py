"""Slow requests of one organization do not block the answers to others."""

import asyncio

import httpx

from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get, serving, until_somebody_waits_for_a_lock


async def test_slow_questions_of_one_organization_hold_nobody_else_up(
    database: Connection, database_url: str
) -> None:
    acme, other = await seed.tenant(database), await seed.tenant(database)
    call_id = await seed.call(database, other)
    async with serving(database_url, api_pool_connections=4, api_pool_wait_seconds=0.5) as api:

        async def stats(day: int) -> httpx.Response:
            return await api.get(f"/calls/stats?start_date=2026-11-{day:02}", headers=bearing(acme.key))

        async with database.transaction():
            await database.execute("LOCK TABLE daily_call_counts, daily_call_totals")
            slow = [asyncio.create_task(stats(day)) for day in range(1, 9)]
            await until_somebody_waits_for_a_lock(database)
            async with asyncio.timeout(5):
                assert (await get(api, other, f"/calls/{call_id}"))["id"] == str(call_id)
                while sum(each.done() for each in slow) < 6:
                    await asyncio.wait(
                        [each for each in slow if not each.done()], return_when=asyncio.FIRST_COMPLETED
                    )
            refused = [each.result().json()["code"] for each in slow if each.done()]
            assert refused == ["ORGANIZATION_BUSY"] * 6
        answers = await asyncio.gather(*slow)
        assert sorted(answer.status_code for answer in answers) == [200] * 2 + [503] * 6
        assert (await stats(1)).status_code == 200

"""The rights that docs/postgres.md gives each role are enough for all that it does."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.database import Connection
from tests import seed
from tests.api import bearing, get, serving
from tests.command_line import callfold
from tests.ingesting import StartIngest, assert_exact, call, caught_up
from tests.processes import Service, publish, until

PAGE = Path(__file__).parent.parent / "docs" / "postgres.md"


@pytest.fixture
async def roles(database: Connection) -> AsyncIterator[None]:
    """The roles and their rights, made as the page says, and gone afterwards."""
    (statements,) = re.findall("```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    await database.execute(statements)
    yield
    for role in re.findall("CREATE ROLE (\\w+)", statements):
        await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def aggregator(roles: None, database_url: str, tmp_path: Path) -> Iterator[Service]:
    """An aggregator with its own role."""
    url = database_url.replace("postgres@", "callfold_aggregator@")
    service = Service("aggregator", tmp_path / "aggregator.log", database_url=url)
    yield service
    if service.running:
        service.kill()


async def test_the_api_waits_for_the_rights_of_its_role(database_url: str, database: Connection) -> None:
    await database.execute("CREATE ROLE callfold_new LOGIN")
    try:
        async with serving(database_url.replace("postgres@", "callfold_new@")) as api:
            answer = await api.get("/health/ready")
            assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
            await database.execute("GRANT SELECT ON alembic_version TO callfold_new")
            assert (await api.get("/health/ready")).status_code == 200
    finally:
        await database.execute("DROP OWNED BY callfold_new; DROP ROLE callfold_new")


@pytest.mark.usefixtures("roles")
async def test_each_role_can_do_its_work(
    start_ingest: StartIngest,
    aggregator: Service,
    bootstrap: str,
    topic: str,
    database_url: str,
    database: Connection,
) -> None:
    def url(role: str) -> str:
        return database_url.replace("postgres@", f"callfold_{role}@")

    acme = await seed.tenant(database)
    ingest = start_ingest(database_url=url("ingest"))
    await publish(bootstrap, topic, [*call(0)[:2], b"no event"])
    await caught_up(bootstrap, topic)
    await publish(bootstrap, topic, call(0))
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 1)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 1
    applied = "SELECT NOT EXISTS (SELECT FROM daily_call_deltas)"
    await until(lambda: database.fetchval(applied), "the aggregator to apply the deltas")
    call_id = await seed.call(database, acme)
    async with serving(url("api")) as api:
        assert (await api.get("/health/ready")).status_code == 200
        assert (await get(api, acme, "/calls"))["total"] == 1
        assert (await get(api, acme, f"/calls/{call_id}"))["id"] == str(call_id)
        assert (await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))).status_code == 204
        assert (await get(api, acme, "/calls", action="stats"))["total"] == 0
    made = (await callfold("org", "create", "Other", "--json", database_url=url("operator"))).json
    key = ("key", "create", "--organization", made["id"], "--json")
    created = (await callfold(*key, database_url=url("operator"))).json
    assert (await callfold("key", "revoke", created["key"], database_url=url("operator"))).status == 0
    for repair in (("refold",), ("rebuild",), ("reap",), ("prune",), ("quarantine", "redrive", "--all")):
        assert (await callfold(*repair, database_url=url("operator"))).status == 0, repair
    zone = ("org", "set-time-zone", made["id"], "Europe/Berlin")
    assert (await callfold(*zone, database_url=url("operator"))).status == 0
    assert (await callfold("quarantine", "discard", "--all", database_url=url("operator"))).status == 0
    assert (await callfold("verify", "--json", database_url=url("operator"))).json["exact"]
    assert [service.stop() for service in (ingest, aggregator)] == [0, 0]

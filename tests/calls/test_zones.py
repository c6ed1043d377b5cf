"""Time zones: the pinned rules place calls on every machine, and calls placed by other rules are found and
moved."""

import ast
import asyncio
import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from uuid import UUID

import pytest

from services.ops.proof.proof import prove
from shared.calls import zones
from shared.calls.local_time import LocalHour, local_hour
from shared.calls.zones import (
    RULES_VERSION,
    find_time_zone,
    has_other_rules,
    has_same_rules,
    time_zone,
    zone_rules,
)
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, serving
from tests.support.applying import apply_deltas
from tests.support.command_line import callfold
from tests.support.events import ORGANIZATION, event, value
from tests.support.pipeline import Pipeline
from tests.support.processes import Service, until
from tests.support.repository import ROOT
from tests.support.roles import as_role
from tests.support.storing import stored

VANCOUVER = "America/Vancouver"
BY_2025B = f"2025b {VANCOUVER} 0123456789abcdef"
"""Recorded rules by which Vancouver's clocks are set back in November 2026."""
EXACT = "EXACT: every count and every call is proved"
NIGHT, MORNING = datetime(2026, 11, 24, 7, 30, tzinfo=UTC), datetime(2026, 11, 24, 20, tzinfo=UTC)
"""Calls that began at 00:30 and 13:00 on the 24th; by 2025b, at 23:30 on the 23rd and at 12:00."""


@pytest.fixture
def tables_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """System tables, for processes started from now on, in which Vancouver has Tokyo's time."""
    vancouver = tmp_path / "zoneinfo" / VANCOUVER
    vancouver.parent.mkdir(parents=True)
    vancouver.write_bytes(files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes())
    monkeypatch.setenv("PYTHONTZPATH", str(tmp_path / "zoneinfo"))
    return tmp_path / "zoneinfo"


def in_a_process(statement: str) -> str:
    """The output of a Python process."""
    done = subprocess.run([sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.usefixtures("tables_of_the_machine")
@pytest.mark.processes
def test_the_package_wins_over_the_tables_of_the_machine() -> None:
    place = (
        f"import datetime; print(datetime.datetime.fromisoformat('{NIGHT}').astimezone(zone('{VANCOUVER}')))"
    )
    by_the_machine = in_a_process(f"from zoneinfo import ZoneInfo as zone; {place}")
    assert by_the_machine == "2026-11-24 16:30:00+09:00", "Python itself takes the tables"
    assert (
        in_a_process(f"from shared.calls.zones import time_zone as zone; {place}")
        == "2026-11-24 00:30:00-07:00"
    )


@pytest.mark.usefixtures("tables_of_the_machine")
async def test_ingest_and_verify_place_calls_by_the_package(
    pipeline: Pipeline, database: Connection, database_url: str
) -> None:
    casablanca = UUID(int=2)
    for id_, zone in ((ORGANIZATION, VANCOUVER), (casablanca, "Africa/Casablanca")):
        made = await callfold(
            "org", "create", "A", "--id", id_, "--time-zone", zone, database_url=database_url
        )
        assert made.status == 0, made.failure
    pipeline.start()
    begins = {ORGANIZATION: "2026-11-24T07:30:00Z", casablanca: "2026-11-24T23:30:00Z"}
    calls = [value("call.initiated", organization_id=id_, timestamp=at) for id_, at in begins.items()]
    await pipeline.publish(calls)
    await pipeline.consumed()
    placed = await database.fetch("SELECT organization_id, day, hour FROM calls")
    assert {id_: tuple(when) for id_, *when in placed} == {
        ORGANIZATION: (date(2026, 11, 24), 0),
        casablanca: (date(2026, 11, 24), 23),
    }
    verify = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "from services.ops.main import run; run()", "verify"],
        env={**os.environ, "CALLFOLD_DATABASE_URL": database_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (verify.returncode, verify.stdout.splitlines()[-1][: len(EXACT)]) == (0, EXACT)
    assert f"time-zone rules {RULES_VERSION}" in verify.stdout


def test_every_zone_of_the_package_is_known_by_its_name() -> None:
    assert len(zones.zone_names()) > 500
    for name in zones.zone_names():
        zone = find_time_zone(name)
        assert zone is not None
        assert zone.key == name
        assert zone is time_zone(name), "one object, by which days are kept in memory"
        assert has_same_rules(name, zone_rules(name))


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "..", "../../etc/passwd", "localtime", "europe/berlin"])
def test_what_names_no_zone_is_utc(name: str) -> None:
    assert find_time_zone(name) is None
    assert time_zone(name) is zones.UTC


def test_a_zone_is_copied_and_pickled_by_its_name() -> None:
    instant = NIGHT.astimezone(time_zone(VANCOUVER))
    assert copy.deepcopy(instant).tzinfo is instant.tzinfo
    assert pickle.loads(pickle.dumps(instant)).tzinfo is instant.tzinfo  # noqa: S301


def test_rules_are_other_ones_when_the_zones_own_data_differ() -> None:
    here = zone_rules(VANCOUVER)
    of_another_release = here.replace(RULES_VERSION, "2031a")
    assert has_same_rules(VANCOUVER, of_another_release), "the release changed, and this zone did not"
    assert has_other_rules(VANCOUVER, BY_2025B)
    assert has_other_rules(VANCOUVER, None), "nobody recorded which"
    assert not has_other_rules("UTC", None), "which never changes"
    of_berlin = zone_rules("Europe/Berlin")
    assert not has_same_rules(VANCOUVER, of_berlin)
    assert not has_other_rules(VANCOUVER, of_berlin), "they say nothing about Vancouver"
    unknown_to_an_older_release = f"2024a {VANCOUVER} {zone_rules('UTC').rpartition(' ')[2]}"
    assert has_other_rules(VANCOUVER, unknown_to_an_older_release), "its calls were counted in UTC"


def sources() -> Iterator[Path]:
    for folder in ("shared", "services", "tests", "benchmarks", "examples"):
        yield from (ROOT / folder).rglob("*.py")


def own_lookups(tree: ast.AST) -> Sequence[str]:
    """The places where a module looks up zones by itself. It may use only the type `ZoneInfo`."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(one.name == "zoneinfo" for one in names):
                found.append(f"line {node.lineno}: import zoneinfo")
            case ast.ImportFrom(module="zoneinfo", names=names):
                found += [f"line {node.lineno}: {one.name}" for one in names if one.name != "ZoneInfo"]
            case ast.ImportFrom(module="dateutil" | "dateutil.tz" | "pytz"):
                found.append(f"line {node.lineno}: {node.module}")
            case ast.Call(func=ast.Name(id="ZoneInfo")):
                found.append(f"line {node.lineno}: ZoneInfo(…)")
            case ast.Attribute(value=ast.Name(id="ZoneInfo")):
                found.append(f"line {node.lineno}: ZoneInfo.{node.attr}")
    return found


@pytest.mark.parametrize(
    "text",
    [
        "import zoneinfo",
        "from zoneinfo import ZoneInfo, available_timezones",
        "BERLIN = ZoneInfo('Europe/Berlin')",
        "BERLIN = ZoneInfo.no_cache('Europe/Berlin')",
        "from dateutil.tz import gettz",
    ],
)
def test_a_lookup_of_ones_own_is_found(text: str) -> None:
    assert len(own_lookups(ast.parse(text))) == 1


def test_zones_come_from_one_place() -> None:
    found = {str(path.relative_to(ROOT)): own_lookups(ast.parse(path.read_text())) for path in sources()}
    assert {path: each for path, each in found.items() if each} == {}


async def placed_by_2025b(database: Connection, database_url: str, calls: int = 2) -> None:
    """An organization in Vancouver with calls placed by the rules of 2025b, and counts that agree with them.
    Half of the calls began at night."""
    await database.execute(
        "INSERT INTO organizations (id, name, time_zone, zone_rules) VALUES ($1, 'Acme', $2, $3)",
        ORGANIZATION,
        VANCOUVER,
        BY_2025B,
    )
    begun = [
        event("call.initiated", call_id=UUID(int=n + 1), timestamp=(NIGHT, MORNING)[n % 2])
        for n in range(calls)
    ]
    await stored(database, *begun)
    await apply_deltas(database, 10_000)
    await database.execute("UPDATE calls SET day = '2026-11-23', hour = 23 WHERE created_at = $1", NIGHT)
    await database.execute("UPDATE calls SET hour = 12 WHERE created_at = $1", MORNING)
    rebuilt = await callfold("rebuild", database_url=database_url)
    assert rebuilt.status == 0, rebuilt.failure


async def placed(database: Connection) -> set[LocalHour]:
    return {LocalHour(*row) for row in await database.fetch("SELECT day, hour FROM calls")}


async def days(database: Connection) -> dict[date, int]:
    """The calls of each day, by counts and deltas."""
    rows = await database.fetch(
        "SELECT day, sum(calls)::int AS calls FROM (SELECT day, calls FROM daily_call_counts "
        "UNION ALL SELECT day, calls FROM daily_call_deltas) part GROUP BY day HAVING sum(calls) <> 0"
    )
    return {row["day"]: row["calls"] for row in rows}


async def recorded(database: Connection) -> str | None:
    rules: str | None = await database.fetchval("SELECT zone_rules FROM organizations")
    return rules


async def test_calls_that_other_rules_placed_are_no_differences_but_not_proved(
    database: Connection, database_url: str
) -> None:
    await placed_by_2025b(database, database_url)
    proof = await prove(database_url)
    assert (proof.exact, proof.differences, dict(proof.placed_by_other_rules)) == (
        False,
        (),
        {ORGANIZATION: 2},
    )

    verify = await callfold("verify", database_url=database_url)
    assert verify.status == 1
    assert "NOT EXACT" not in verify.output
    assert verify.output.splitlines()[-2:] == [
        f"REFOLD: other time-zone rules than {RULES_VERSION} placed 2 calls of 1 organization. No count is "
        "wrong; `callfold refold` moves these calls, with their counts, to their days by the current rules.",
        f"  organization {ORGANIZATION}: 2 calls",
    ]
    read = (await callfold("verify", "--json", database_url=database_url)).json
    assert (read["exact"], read["differences_found"], read["placed_by_other_rules"]) == (False, 0, 2)
    assert read["organizations_placed_by_other_rules"] == [str(ORGANIZATION)]
    assert read["time_zone_rules"] == RULES_VERSION


WRONG = {
    "another field besides": ("duration = 9", {"duration"}, 2),
    "another beginning": ("created_at = '2026-11-24T07:45:00Z'", {"created_at", "day", "hour"}, 1),
    "a day that no rules give": ("day = '2026-11-20'", {"day", "hour"}, 1),
    "no hour": ("hour = NULL", {"day", "hour"}, 1),
}


@pytest.mark.parametrize(("damage", "fields", "placed_by_others"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_a_difference_also_where_other_rules_placed_calls(
    database: Connection, database_url: str, damage: str, fields: set[str], placed_by_others: int
) -> None:
    await placed_by_2025b(database, database_url)
    await database.execute(f"UPDATE calls SET {damage} WHERE hour = 23")  # noqa: S608
    proof = await prove(database_url)
    (difference,) = (one for one in proof.differences if one.kind == "call")
    assert set(difference.expected) == fields
    assert dict(proof.placed_by_other_rules) == {ORGANIZATION: placed_by_others}
    verify = await callfold("verify", database_url=database_url)
    assert (verify.status, "NOT EXACT" in verify.output, "REFOLD" in verify.output) == (1, True, True)


@pytest.mark.parametrize("before", [BY_2025B, None], ids=["another release", "a callfold that recorded none"])
async def test_a_refold_places_calls_by_the_present_rules_exact_at_every_snapshot(
    database: Connection, database_url: str, before: str | None
) -> None:
    await placed_by_2025b(database, database_url, calls=1_200)
    await database.execute("UPDATE organizations SET zone_rules = $1", before)
    assert dict((await prove(database_url)).placed_by_other_rules) == {ORGANIZATION: 1_200}
    assert await days(database) == {date(2026, 11, 23): 600, date(2026, 11, 24): 600}
    refold = asyncio.create_task(callfold("refold", "--json", database_url=database_url))
    proofs = 0
    while not refold.done():
        proof = await prove(database_url)
        assert proof.differences == ()
        proofs += 1
    assert proofs > 0
    assert (await refold).json["repaired"] == 1_200
    assert await days(database) == {date(2026, 11, 24): 1_200}
    assert await placed(database) == {local_hour(at, time_zone(VANCOUVER)) for at in (NIGHT, MORNING)}
    assert await recorded(database) == zone_rules(VANCOUVER)
    verify = await callfold("verify", database_url=database_url)
    assert (verify.status, verify.output.splitlines()[-1][: len(EXACT)]) == (0, EXACT)


async def test_an_event_moves_its_call_to_the_present_day_before_any_refold(
    database: Connection, database_url: str
) -> None:
    await placed_by_2025b(database, database_url)
    answered = event("call.answered", id="2", call_id=UUID(int=1), timestamp=NIGHT + timedelta(seconds=9))
    await stored(database, answered)
    assert await days(database) == {date(2026, 11, 24): 2}
    proof = await prove(database_url)
    assert (proof.differences, dict(proof.placed_by_other_rules)) == ((), {ORGANIZATION: 1})


async def test_only_a_refold_of_a_whole_organization_records_its_rules(
    database: Connection, database_url: str
) -> None:
    await placed_by_2025b(database, database_url)
    first = f"{ORGANIZATION}/{UUID(int=1)}"
    for partial in (("--dry-run",), ("--after", first)):
        assert (await callfold("refold", *partial, database_url=database_url)).status == 0
        assert await recorded(database) == BY_2025B, partial
    earlier = f"{UUID(int=1)}/{UUID(int=1)}"
    assert (await callfold("refold", "--after", earlier, database_url=database_url)).status == 0
    assert await recorded(database) == zone_rules(VANCOUVER), "all of its calls come after that one"


async def test_an_organization_begins_with_the_present_rules(database: Connection, database_url: str) -> None:
    made = await callfold(
        "org", "create", "Acme", "--time-zone", VANCOUVER, "--json", database_url=database_url
    )
    assert made.json["zone_rules"] == zone_rules(VANCOUVER)
    await callfold("org", "set-time-zone", made.json["id"], "Europe/Berlin", database_url=database_url)
    assert await recorded(database) == zone_rules("Europe/Berlin")
    await database.execute("DELETE FROM organizations")
    await stored(database, event("call.initiated"))
    assert await recorded(database) == zone_rules("UTC"), "an event of an unknown organization made it"


WARNING = (
    f"other time-zone rules than {RULES_VERSION} placed the calls of 2 organizations (time zones: "
    f"Africa/Casablanca, {VANCOUVER}): run `callfold refold`"
)


async def test_ingest_and_aggregator_warn_once_of_calls_that_other_rules_placed(
    pipeline: Pipeline, database: Connection, database_url: str, tmp_path: Path
) -> None:
    tenant = await seed.tenant(database, VANCOUVER)
    await database.execute("UPDATE organizations SET zone_rules = $1", BY_2025B)
    await seed.tenant(database, "Europe/Berlin")
    await database.execute(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, 'A', 'Africa/Casablanca')",
        UUID(int=9),
    )
    ingest = pipeline.start(database_url=as_role(database_url, "callfold_ingest"))
    aggregator = Service(
        "aggregator",
        tmp_path / "aggregator.log",
        database_url=as_role(database_url, "callfold_aggregator"),
    )
    try:
        await pipeline.publish([value("call.initiated", organization_id=tenant.id)])
        await pipeline.consumed()
        await until(lambda: ingest.said(WARNING), "the warning of ingest")
        await until(lambda: aggregator.said(WARNING), "the warning of the aggregator")
    finally:
        aggregator.kill()
    for service in (ingest, aggregator):
        assert service.log.read_text().count("time-zone rules") == 1


async def test_the_api_warns_once_though_its_role_sees_no_organization(
    database: Connection, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = await seed.tenant(database, VANCOUVER)
    await database.execute("UPDATE organizations SET zone_rules = $1", BY_2025B)
    async with serving(database_url) as client:
        for _ in range(3):
            asked = await client.get("/calls", headers=bearing(tenant.key))
            assert asked.status_code == 200
            ready = await client.get("/health/ready")
            assert ready.status_code == 200
    said = [record.getMessage() for record in caplog.records if "time-zone rules" in record.getMessage()]
    assert said == [
        f"other time-zone rules than {RULES_VERSION} placed the calls of 1 organization "
        f"(time zones: {VANCOUVER}): run `callfold refold`"
    ]

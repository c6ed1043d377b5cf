"""With the filters of docs/reference/figures.md, the list of calls has as many calls as the figure counts."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, get_args

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api.figures.sums import STATUSES, GroupBy
from shared.calls.hangup import CAUSES, SPELLINGS
from shared.counts.cell import NO_PHONE_NUMBER
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import get
from tests.support.figures import Made
from tests.support.seed import Tenant

PHONE = "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11"
UNKNOWN_CAUSES = ("what?", "486", "Normal_Clearing", "it's")

Filters = dict[str, str]


def lists_of(figures: dict[str, Any]) -> Iterator[tuple[str, int, Filters]]:
    """Each figure of stats, or of a row of trends, that counts calls: its name, and the filters of its
    list."""
    yield "total", figures["total"], {}
    yield "answered", figures["answered"], {"answered": "true"}
    yield "not answered", figures["total"] - figures["answered"], {"answered": "false"}
    for status, calls in figures["by_status"].items():
        yield status, calls, {"status": status}
    for direction, calls in figures.get("by_direction", {}).items():
        yield direction, calls, {"direction": direction}
    if "seizures" in figures:
        effective = round((figures["ner"] or 0) * figures["seizures"])
        yield "seizures", figures["seizures"], {"seizure": "true"}
        yield "no seizures", figures["total"] - figures["seizures"], {"seizure": "false"}
        yield "effective", effective, {"effective": "true"}
        yield "not effective", figures["total"] - effective, {"effective": "false"}
    if "short_calls" in figures:
        short = figures["short_calls"]
        yield "short", short, {"answered": "true", "max_duration": "5"}
        if short:
            timed = round(short / figures["short_call_share"])
            yield "divisor of ACD", timed, {"answered": "true", "min_duration": "0"}
    for cause, calls in figures.get("hangup_causes", {}).items():
        yield cause, calls, {"counted_cause": cause}


def of_group(group_by: GroupBy, group: str) -> Filters:
    """The filter of a group's calls."""
    if group_by == "phone_number":
        return {"has_phone_number": "false"} if group == "none" else {"phone_number_id": group}
    return {group_by: group}


class Site(NamedTuple):
    """The API, and the organization that asks it."""

    api: httpx.AsyncClient
    acme: Tenant

    async def check(self, figures: dict[str, Any], *filters: Filters) -> None:
        """Checks the list of each figure, in addition to these filters."""
        for name, calls, of_figure in lists_of(figures):
            asked: Filters = {}
            for each in (*filters, of_figure):
                if any(asked.get(key, value) != value for key, value in each.items()):
                    break  # the figure is of a status or direction that the filters exclude
                asked |= each
            else:
                listed = await get(self.api, self.acme, "/calls", **asked, limit=100)
                assert listed["total"] == calls, (name, asked)
                assert len(listed["data"]) == min(calls, 100), (name, asked)


BEGIN = datetime(2026, 3, 28, tzinfo=UTC)
DAYS = {"start_date": "2026-03-28", "end_date": "2026-03-30"}

calls = st.builds(
    Made,
    created_at=st.integers(0, 3 * 24 * 60 * 60).map(lambda seconds: BEGIN + timedelta(seconds=seconds)),
    status=st.sampled_from(STATUSES),
    answer_delay=st.none() | st.just(timedelta(seconds=2)),
    duration=st.none() | st.integers(0, 10) | st.integers(0, 700_000),
    data=st.fixed_dictionaries(
        {},
        optional={
            "direction": st.sampled_from(["inbound", "outbound"]),
            "phone_number_id": st.sampled_from([PHONE, str(NO_PHONE_NUMBER)]),
            "hangup_cause": st.sampled_from([*SPELLINGS, *UNKNOWN_CAUSES]),
        },
    ),
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["completed", "failed", "in_progress", "ringing"]),
        "direction": st.sampled_from(["inbound", "unknown"]),
        "phone_number_id": st.just(PHONE),
    },
)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
    made=st.lists(st.tuples(calls, st.booleans()), min_size=5, max_size=12),
    more=filters,
    group_by=st.sampled_from(get_args(GroupBy)),
)
async def test_the_list_of_a_figure_has_as_many_calls(
    api: httpx.AsyncClient,
    database: Connection,
    zone: str,
    made: list[tuple[Made, bool]],
    more: Filters,
    group_by: GroupBy,
) -> None:
    acme = await seed.tenant(database, zone)
    for call, applied in made:
        await seed.store(database, acme, call.events(acme), applied=applied)
    site = Site(api, acme)

    await site.check(await get(api, acme, "/calls/stats", **more), more)
    stats = await get(api, acme, "/calls/stats", **DAYS, group_by=group_by)
    await site.check(stats, DAYS)
    for row in stats["groups"]:
        await site.check(row, DAYS, of_group(group_by, row["group"]))

    days = await get(api, acme, "/calls/trends", **DAYS, **more, include="hangup_causes")
    for row in days["data"]:
        await site.check(row, more, {"start_date": row["date"], "end_date": row["date"]})
    (week, *_) = (await get(api, acme, "/calls/trends", **DAYS, interval="week"))["data"]
    await site.check(week, {"start_date": week["start_date"], "end_date": week["end_date"]})

    hours = (await get(api, acme, "/calls/trends", **DAYS, **more, interval="hour"))["data"]
    after = datetime.combine(date.fromisoformat(DAYS["end_date"]) + timedelta(1), time(), acme.zone)
    starts = [*(row["hour_start"] for row in hours), after.isoformat()]
    for row, (start, end) in zip(hours, pairwise(starts), strict=True):
        if row["total"]:
            await site.check(row, more, {"start_date": start, "end_date": end})


async def test_a_cause_lists_the_calls_with_each_of_its_spellings(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    spellings = [None, *SPELLINGS, *UNKNOWN_CAUSES]
    for cause in spellings:
        await seed.call(database, acme, status="failed", hangup_cause=cause)
        await seed.call(database, acme, status="ringing", hangup_cause=cause)

    stats = await get(api, acme, "/calls/stats")

    assert stats["hangup_causes"].keys() == set(CAUSES)
    assert sum(stats["hangup_causes"].values()) == len(spellings)
    await Site(api, acme).check(stats)

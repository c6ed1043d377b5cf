"""The figures of stats and trends, against the documented example and a computation from each call."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple, get_args
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api.figures.concurrency import LOOK_BACK_DAYS
from services.api.figures.intervals import Interval, Span, hour_starts, previous
from services.api.figures.sums import STATUSES, GroupBy
from shared.calls.event import Event
from shared.calls.fold import Call, fold
from shared.calls.local_time import local_day, local_hour
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get
from tests.support.figures import Made, check, peak_of
from tests.support.repository import ROOT

FIGURES = ROOT / "docs" / "reference" / "figures.md"
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
DAY = {"start_date": "2026-11-24", "end_date": "2026-11-24"}


def table(heading: str) -> Iterator[dict[str, str]]:
    """The rows of the documentation's last table whose first column has this heading."""
    names: list[str] = []
    rows: list[dict[str, str]] = []
    for line in FIGURES.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and cells[0] == heading:
            names, rows = cells, []
        elif not cells:
            names = []
        elif names and cells[0] != "---":
            rows.append(dict(zip(names, cells, strict=True)))
    return iter(rows)


async def store_the_documented_example(database: Connection) -> seed.Tenant:
    acme = await seed.tenant(database)
    for documented in table("created"):
        given = {name: text for name, text in documented.items() if text}
        created_at = datetime.fromisoformat(f"2026-11-24T{given.pop('created')}Z")
        answered_after = given.pop("answered after", None)
        made = Made(
            created_at,
            status=given.pop("status"),
            answer_delay=timedelta(seconds=int(answered_after)) if answered_after else None,
            duration=int(given.pop("duration", "0")) or None,
            data=given | ({"latency_ms": int(given["latency_ms"])} if "latency_ms" in given else {}),
        )
        await seed.store(database, acme, made.events(acme))
    return acme


async def test_the_documented_example(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await store_the_documented_example(database)

    stats = await get(api, acme, "/calls/stats", **DAY, include="peak_concurrency")

    figures = list(table("figure"))
    assert len(figures) == 20
    for figure in figures:
        name, expected = figure["figure"].strip("`"), float(figure["value"])
        value = stats
        for part in name.split("."):
            value = value[part]
        assert value == pytest.approx(expected, rel=0.05 if "percentiles" in name else 1e-4), name
    assert stats["peak_concurrency"] == {
        "calls": 2,
        "at": "2026-11-24T09:31:05Z",
        "calls_since": "2025-11-23",
    }


async def test_the_documented_lists_of_the_example(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await store_the_documented_example(database)

    listed = {}
    for row in table("calls of"):
        filters = dict(parse_qsl(row["filters"].strip("`")))
        listed[row["calls of"]] = (await get(api, acme, "/calls", **DAY, **filters))["total"]

    assert listed == {
        "`total`": 10,
        "`by_status.busy`": 1,
        "`by_direction.unknown`": 0,
        "`answered`": 5,
        "`seizures`": 9,
        "`ner`, its numerator": 8,
        "`acd`, its divisor": 4,
        "`short_calls`": 1,
        "`hangup_causes.NORMAL_CLEARING`": 4,
        "`hangup_causes.NONE`": 1,
    }


async def test_hours_over_a_change_of_the_clock_are_compared_by_its_reading(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database, "Europe/Berlin")
    await seed.call(database, acme, "2026-03-28T09:30:00+01:00", direction="inbound")
    await seed.call(database, acme, "2026-03-29T09:30:00+02:00", direction="inbound")

    trends = await get(
        api,
        acme,
        "/calls/trends",
        interval="hour",
        compare="previous",
        group_by="direction",
        start_date="2026-03-29",
        end_date="2026-03-29",
    )

    with_calls = [
        (row["hour_start"], row["total"], row["previous"]["total"])
        for row in trends["data"]
        if row["total"] or row["previous"]["total"]
    ]
    assert with_calls == [("2026-03-29T09:00:00+02:00", 1, 1)]
    assert len(trends["data"]) == 23
    following = {"start_date": "2026-03-30", "end_date": "2026-03-30"}
    after = await get(api, acme, "/calls/trends", interval="hour", compare="previous", **following)
    assert [row["hour_start"] for row in after["data"] if row["previous"] is None] == [
        "2026-03-30T02:00:00+02:00"
    ]


async def test_weeks_that_begin_on_sunday(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    for day in ("2026-12-26", "2026-12-27", "2027-01-02", "2027-01-03", "2027-01-09"):
        await seed.call(database, acme, f"{day}T10:00:00Z", direction="inbound")
    asked = {"interval": "week", "start_date": "2027-01-02", "end_date": "2027-01-09", "compare": "previous"}

    sundays = await get(
        api, acme, "/calls/trends", **asked, week_start="sunday", group_by="direction", include="percentiles"
    )
    mondays = await get(api, acme, "/calls/trends", **asked)

    def told(trends: Any) -> list[tuple[str, str, int, int]]:
        return [
            (row["start_date"], row["end_date"], row["total"], row["previous"]["total"])
            for row in trends["data"]
        ]

    assert told(sundays) == [("2027-01-02", "2027-01-02", 1, 0), ("2027-01-03", "2027-01-09", 2, 2)]
    assert told(mondays) == [("2027-01-02", "2027-01-03", 2, 1), ("2027-01-04", "2027-01-09", 1, 1)]
    assert mondays == await get(api, acme, "/calls/trends", **asked, week_start="monday")


async def test_the_average_duration_is_of_answered_calls_that_have_one(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    answered = timedelta(seconds=2)
    for made in (
        Made(NOON, "completed", answered, 60, {"direction": "inbound"}),
        Made(NOON, "failed", answered, 3, {"direction": "inbound"}),
        Made(NOON, "in_progress", answered),
        Made(NOON, "failed", answered),
        Made(NOON, "no_answer", None, 30),
        Made(NOON, "busy", None, 5),
    ):
        await seed.store(database, acme, made.events(acme))

    stats = await get(api, acme, "/calls/stats", **DAY, group_by="direction")
    (day,) = (await get(api, acme, "/calls/trends", **DAY))["data"]
    hours = (await get(api, acme, "/calls/trends", **DAY, interval="hour"))["data"]

    assert (stats["total_duration"], stats["acd"], stats["short_call_share"]) == (98, 31.5, 0.5)
    assert stats["average_duration"] == stats["acd"]
    assert [(row["group"], row["acd"]) for row in stats["groups"]] == [("unknown", None), ("inbound", 31.5)]
    assert (day["acd"], day["short_call_share"]) == (31.5, 0.5)
    assert [row["acd"] for row in hours if row["total"]] == [60]

    ringing_long = Made(NOON, "failed", None, 500)
    await seed.store(database, acme, ringing_long.events(acme))
    assert (await get(api, acme, "/calls/stats", **DAY))["acd"] == 31.5


async def test_by_the_hour_the_average_duration_is_null_where_one_is_not_known(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    hour = timedelta(hours=1)
    answered = timedelta(seconds=2)
    await seed.store(database, acme, Made(NOON - hour, "completed", answered, 60).events(acme))
    asked = {**DAY, "interval": "hour"}
    known = (await get(api, acme, "/calls/trends", **asked))["data"]
    assert [row["acd"] for row in known if row["total"]] == [60]

    await seed.store(database, acme, _without_duration(acme))

    hours = (await get(api, acme, "/calls/trends", **asked))["data"]
    assert [row["acd"] for row in hours if row["total"]] == [None, None]
    assert (await get(api, acme, "/calls/stats", **DAY))["acd"] == 60


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def _without_duration(tenant: seed.Tenant) -> list[Event]:
    """A completed call without a duration."""
    return [seed.event(tenant, "short of facts", NOON, "call.completed")]


async def test_calls_of_any_length_are_in_the_peak_of_each_day(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """A conference of three days, one of four weeks without a duration, and one that is still in progress."""
    acme = await seed.tenant(database)
    for created, answered_after, ended in (
        ("2026-11-23T08:00:00+00:00", 2, {"duration": 273_600, "at": "2026-11-26T12:00:02+00:00"}),
        ("2026-11-26T09:00:00+00:00", 2, {"duration": 600, "at": "2026-11-26T09:10:02+00:00"}),
        ("2026-10-29T09:00:00+00:00", 2, {"duration": None, "at": "2026-11-26T09:05:00+00:00"}),
        ("2026-09-01T09:00:00+00:00", 2, None),
    ):
        begin = datetime.fromisoformat(created)
        events = [
            seed.event(acme, created, begin, "call.initiated"),
            seed.event(acme, created, begin + timedelta(seconds=answered_after), "call.answered"),
        ]
        if ended:
            at = datetime.fromisoformat(str(ended["at"]))
            # Failed, because a call that completes without a duration gets one.
            type_ = "call.completed" if ended["duration"] else "call.failed"
            events.append(seed.event(acme, created, at, type_, duration=ended["duration"]))
        await seed.store(database, acme, events)

    async def peak(first: str, last: str) -> Any:
        asked = {"start_date": first, "end_date": last, "include": "peak_concurrency"}
        return (await get(api, acme, "/calls/stats", **asked))["peak_concurrency"]

    most = {"calls": 4, "at": "2026-11-26T09:00:02Z"}
    for first in ("2026-11-26", "2026-11-25", "2026-11-20"):
        found = await peak(first, "2026-11-26")
        assert {name: found[name] for name in most} == most
    assert (await peak("2026-11-26", "2026-11-26"))["calls_since"] == "2025-11-25"
    assert (await peak("2026-11-20", "2026-11-20"))["calls"] == 2
    assert (await peak("2026-12-20", "2026-12-20"))["calls"] == 1


async def test_the_peak_says_how_far_back_calls_were_looked_at(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await count_numbers(database, acme, 500, days=10)  # 125,250 calls a day until January 10th
    asked = {"start_date": "2026-01-12", "end_date": "2026-01-12", "include": "peak_concurrency"}

    short = await get(api, acme, "/calls/stats", **asked)
    await database.execute("UPDATE daily_call_totals SET status = 'in_progress'")
    going_on = await get(api, acme, "/calls/stats", **asked)

    assert short["peak_concurrency"] == {"calls": 0, "at": None, "calls_since": "2025-01-11"}
    assert going_on["peak_concurrency"] == {"calls": 0, "at": None, "calls_since": "2026-01-10"}


BEGIN = datetime(2026, 3, 23, tzinfo=UTC)
CAUSES = [None, None, "NORMAL_CLEARING", "normal_clearing", "USER_BUSY", "486", "SIP 486", "34", "what?"]
NUMBERS = [None, "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11", "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c12"]
_data = st.fixed_dictionaries(
    {},
    optional={
        "direction": st.sampled_from(["inbound", "outbound"]),
        "phone_number_id": st.sampled_from(NUMBERS),
        "cost": st.decimals(0, 1000, places=4).map(str),
        "latency_ms": st.integers(10, 60_000),
        "hangup_cause": st.sampled_from(CAUSES),
    },
)


def _by_the_laws(made: Made) -> Made:
    """A completed call was answered; a busy, unanswered or canceled one was not."""
    if made.status == "completed":
        return made._replace(answer_delay=made.answer_delay or timedelta(seconds=1))
    ended_unanswered = made.status in ("busy", "no_answer", "canceled")
    return made._replace(answer_delay=None) if ended_unanswered else made


_made = st.builds(
    Made,
    created_at=st.integers(0, 16 * 24 * 60 * 60).map(lambda seconds: BEGIN + timedelta(seconds=seconds)),
    status=st.sampled_from(STATUSES),
    answer_delay=st.none() | st.integers(100, 600_000).map(lambda ms: timedelta(milliseconds=ms)),
    duration=st.none() | st.integers(0, 10) | st.integers(0, 40_000) | st.integers(80_000, 700_000),
    data=_data,
).map(_by_the_laws)
_spans = st.tuples(st.integers(0, 9), st.integers(1, 9)).map(
    lambda of: Span(date(2026, 3, 22) + timedelta(of[0]), date(2026, 3, 21) + timedelta(of[0] + of[1]))
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    made=st.lists(st.tuples(_made, st.booleans()), max_size=12),
    days=_spans,
    group_by=st.sampled_from(GROUPS),
)
async def test_every_figure_is_what_a_look_at_each_call_gives(
    api: httpx.AsyncClient,
    database: Connection,
    zone: str,
    made: list[tuple[Made, bool]],
    days: Span,
    group_by: GroupBy,
) -> None:
    acme = await seed.tenant(database, zone)
    every = []
    for call, applied in made:
        events = call.events(acme)
        every.append(fold(events))
        await seed.store(database, acme, events, applied=applied)
    world = World(api, acme, every, days)

    await world.check_stats(group_by)
    for interval in get_args(Interval):
        await world.check_trends(interval, None)
    await world.check_trends("day", group_by)


class World(NamedTuple):
    """Calls, the principal that may see them, and the requested days."""

    api: httpx.AsyncClient
    acme: seed.Tenant
    calls: list[Call]
    days: Span

    def created(self, days: Span, group_by: GroupBy | None = None, group: str | None = None) -> list[Call]:
        """The calls of these days, or of a group of them."""
        return [
            call
            for call in self.calls
            if days.start <= local_day(call.created_at, self.acme.zone) <= days.end
            and (group_by is None or _group(call, group_by) == group)
        ]

    @property
    def asked(self) -> dict[str, object]:
        return {"start_date": self.days.start, "end_date": self.days.end, "compare": "previous"}

    async def check_stats(self, group_by: GroupBy) -> None:
        """Checks stats with every option, and that the list has as many calls."""
        stats = await get(
            self.api, self.acme, "/calls/stats", **self.asked, group_by=group_by, include="peak_concurrency"
        )
        listed = await get(self.api, self.acme, "/calls", start_date=self.days.start, end_date=self.days.end)
        assert listed["total"] == stats["total"]
        for answer, days in ((stats, self.days), (stats["previous"], previous(self.days))):
            check(answer, self.created(days))
            groups = [row["group"] for row in answer["groups"]]
            counts = [row["total"] for row in answer["groups"]]
            assert sorted(groups) == sorted({_group(call, group_by) for call in self.created(days)})
            assert counts == sorted(counts, reverse=True)
            for row in answer["groups"]:
                check(row, self.created(days, group_by, row["group"]))
            peak = answer["peak_concurrency"]
            at = peak["at"] and datetime.fromisoformat(peak["at"])
            reaching = self.created(Span(date(2026, 1, 1), days.end))
            begin, end = (
                datetime.combine(day, time(), self.acme.zone).astimezone(UTC)
                for day in (days.start, days.end + timedelta(1))
            )
            since = peak.pop("calls_since")
            assert {**peak, "at": at} == peak_of(reaching, begin, end)
            assert since == str(days.start - timedelta(LOOK_BACK_DAYS))

    async def check_trends(self, interval: Interval, group_by: GroupBy | None) -> None:
        """Checks every row of trends, and that their sum is the whole."""
        more: dict[str, str] = {} if group_by is None else {"group_by": group_by}
        if interval != "hour":
            more["include"] = "percentiles,hangup_causes"
        trends = await get(self.api, self.acme, "/calls/trends", interval=interval, **self.asked, **more)
        assert sum(row["total"] for row in trends["data"]) == len(self.created(self.days))
        shift = timedelta(self.days.days)
        for row in trends["data"]:
            day = date.fromisoformat(row["date"])
            last = date.fromisoformat(row["end_date"]) if "end_date" in row else day
            calls = self.created(Span(day, last), group_by, row.get("group"))
            before = self.created(Span(day - shift, last - shift), group_by, row.get("group"))
            if interval != "hour":
                check(row, calls)
                check(row["previous"], before)
                continue
            begin = datetime.fromisoformat(row["hour_start"])
            check(row, self.of_hour(calls, day, begin), of_day=calls)
            earlier = self.hour_before(day, day - shift, begin)
            if earlier is None:
                assert row["previous"] is None
            else:
                check(row["previous"], self.of_hour(before, day - shift, earlier), of_day=before)

    def of_hour(self, calls: list[Call], day: date, begin: datetime) -> list[Call]:
        """The calls of a day that were created in the hour that begins at this time."""
        midnight = datetime.combine(day, time(), self.acme.zone).astimezone(UTC)
        hour = (begin.astimezone(UTC) - midnight) // HOUR
        return [call for call in calls if local_hour(call.created_at, self.acme.zone).hour == hour]

    def hour_before(self, day: date, earlier: date, begin: datetime) -> datetime | None:
        """The hour of the earlier day with the same local time as this hour."""

        def alike(of: date) -> list[datetime]:
            starts = hour_starts(of, self.acme.zone)
            return [start.astimezone(UTC) for start in starts if start.hour == begin.hour]

        those = alike(earlier)
        turn = alike(day).index(begin.astimezone(UTC))
        return those[min(turn, len(those) - 1)] if those else None


HOUR = timedelta(hours=1)


def _group(call: Call, group_by: GroupBy) -> str:
    match group_by:
        case "phone_number":
            return str(call.phone_number_id or "none")
        case "direction":
            return call.direction or "unknown"
        case "status":
            return call.status


_CELLS_OF_NUMBERS = """
INSERT INTO {table} (organization_id, livemode, day, direction, {phone_number_id} status, calls, answered,
    duration_seconds, cost_cents, latency_ms, latency_calls)
SELECT $1, true, '2026-01-01'::date + day, 'inbound', {number} 'busy', {calls}, 0, 0, 0, 0, 0
FROM generate_series(0, $2 - 1) AS day{of_numbers}
"""


async def count_numbers(database: Connection, tenant: seed.Tenant, numbers: int, days: int = 1) -> None:
    """Counts for phone numbers with calls on each day from January 1st: number n has n calls per day."""
    counts = _CELLS_OF_NUMBERS.format(
        table="daily_call_counts",
        phone_number_id="phone_number_id,",
        number="lpad(to_hex(n), 32, '0')::uuid,",
        calls="n",
        of_numbers=", generate_series(1, $3) AS n",
    )
    totals = _CELLS_OF_NUMBERS.format(
        table="daily_call_totals",
        phone_number_id="",
        number="",
        calls="$3::int * ($3 + 1) / 2",
        of_numbers="",
    )
    for statement in (counts, totals):
        await database.execute(statement, tenant.id, days, numbers)


async def test_the_largest_groups_are_told_apart_and_all_others_together(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await count_numbers(database, acme, 1002)

    stats = await get(api, acme, "/calls/stats", group_by="phone_number")

    assert stats["total"] == 1002 * 1003 / 2
    assert [(row["group"], row["total"], row["by_status"]["busy"]) for row in stats["groups"]] == [
        *[(str(UUID(int=number)), number, number) for number in range(1002, 2, -1)],
        ("other", 1 + 2, 1 + 2),
    ]


async def test_more_rows_than_trends_may_have_are_refused(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await count_numbers(database, acme, 55, days=366)
    year = {"start_date": "2026-01-01", "end_date": "2027-01-01", "group_by": "phone_number"}
    month = year | {"end_date": "2026-01-31", "interval": "hour"}

    for asked, rows_max in (
        (year, 20_000),
        (month, 20_000),
        (year | {"interval": "week", "include": "percentiles"}, 2_000),
    ):
        response = await api.get("/calls/trends", params=asked, headers=bearing(acme.key))
        assert (response.status_code, response.json()["error"]) == (
            400,
            f"group_by would return more than {rows_max} rows; request fewer days, longer intervals or one "
            "phone number.",
        )
    assert len((await get(api, acme, "/calls/trends", **year | {"interval": "month"}))["data"]) == 55 * 13


async def test_a_peak_is_not_looked_for_among_too_many_calls(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await count_numbers(database, acme, 632)  # 200,028 calls
    asked = {"end_date": "2026-01-02", "include": "peak_concurrency"}

    for more in (
        {"start_date": "2026-01-01"},
        {"start_date": "2026-01-02"},  # the calls are those of the day before
        {"start_date": "2026-01-01", "status": "busy"},  # few of these calls match the filter
        {"start_date": "2026-01-01", "direction": "outbound"},
    ):
        response = await api.get("/calls/stats", params=asked | more, headers=bearing(acme.key))
        assert (response.status_code, response.json()["code"]) == (400, "TOO_MANY_CALLS")
        assert "200,028 calls are in this span and the day before" in response.json()["error"]
    of_one = {**asked, "start_date": "2026-01-02", "phone_number_id": str(UUID(int=9))}
    stats = await get(api, acme, "/calls/stats", **of_one)
    assert stats["peak_concurrency"] == {"calls": 0, "at": None, "calls_since": "2025-01-01"}


async def test_what_is_counted_by_phone_number_alone_is_told_until_a_rebuild(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """For an organization from before there were totals."""
    acme = await seed.tenant(database)
    await seed.call(database, acme, applied=True)
    await database.execute("DELETE FROM daily_call_totals")
    await database.execute("UPDATE organizations SET has_totals = false")
    await seed.call(database, acme)

    assert (await get(api, acme, "/calls/stats"))["total"] == 2


async def test_calls_of_before_leave_nothing_below_zero_when_they_are_deleted(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """The delete subtracts them from distributions that never included them."""
    acme = await seed.tenant(database)
    said: dict[str, Any] = {"duration": 3, "hangup_cause": "NORMAL_CLEARING"}
    ids = [await seed.call(database, acme, applied=True, **said) for _ in range(3)]
    for table in ("daily_call_counts", "daily_call_totals"):
        await database.execute(f"UPDATE {table} SET effective = 0, durations = 0, hangup_causes = 0")  # noqa: S608

    answer = await api.delete(f"/calls/{ids[0]}", headers=bearing(acme.key))

    assert answer.status_code == 204
    stats = await get(api, acme, "/calls/stats")
    assert (stats["total"], stats["asr"], stats["ner"]) == (2, 1.0, 0.0)
    assert (stats["short_calls"], stats["hangup_causes"]) == (0, {})
    assert set(stats["percentiles"]["duration"].values()) == {None}


async def test_a_deleted_call_is_in_no_figure(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    asked = {**DAY, "include": "peak_concurrency", "compare": "previous", "group_by": "status"}
    empty = await get(api, acme, "/calls/stats", **asked)
    call_id = await seed.call(
        database, acme, duration=3, cost="1.5", latency_ms=20, hangup_cause="USER_BUSY", applied=True
    )
    assert (await get(api, acme, "/calls/stats", **asked))["short_calls"] == 1

    assert (await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))).status_code == 204

    assert await get(api, acme, "/calls/stats", **asked) == empty

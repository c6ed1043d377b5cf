"""Stats and trends: which calls count, on which days, in which time zone."""

from datetime import UTC, datetime

import httpx

from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import get, serving

NO_CALLS_BY_STATUS = {
    "initiated": 0,
    "ringing": 0,
    "in_progress": 0,
    "completed": 0,
    "failed": 0,
    "busy": 0,
    "no_answer": 0,
    "canceled": 0,
}

FIGURES = {
    "seizures",
    "asr",
    "ner",
    "acd",
    "average_cost",
    "short_calls",
    "short_call_share",
    "hangup_causes",
    "percentiles",
}
"""Figures that were added later; tests/api/test_figures.py tests them."""
NO_PERCENTILES = dict.fromkeys(("p50", "p90", "p95", "p99"))


async def test_stats_are_the_status_breakdown(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database, "Europe/Berlin")
    await seed.call(
        database, acme, status="completed", direction="inbound", duration=90, cost="4.5", latency_ms=400
    )
    await seed.call(
        database, acme, status="completed", direction="outbound", duration=31, cost="0.1", latency_ms=301
    )
    await seed.call(database, acme, status="in_progress", direction="inbound", applied=True)
    await seed.call(database, acme, status="busy", direction="outbound", cost="0.2", applied=True)
    await seed.call(database, acme, status="no_answer")
    await seed.call(database, acme, status="ringing")

    stats = await get(api, acme, "/calls", action="stats")
    assert stats == await get(api, acme, "/calls/stats")
    before = {name: value for name, value in stats.items() if name not in FIGURES}
    assert before == {
        "total": 6,
        "by_status": {
            "initiated": 0,
            "ringing": 1,
            "in_progress": 1,
            "completed": 2,
            "failed": 0,
            "busy": 1,
            "no_answer": 1,
            "canceled": 0,
        },
        "by_direction": {"inbound": 2, "outbound": 2, "unknown": 2},
        "answered": 3,
        "answer_rate": 0.5,
        "total_duration": 121,
        "average_duration": 121 / 2,
        "total_cost": 4.8,
        "average_latency_ms": 350.5,
        "start_date": None,
        "end_date": None,
        "time_zone": "Europe/Berlin",
    }


async def test_stats_without_calls_have_no_ratios(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)

    stats = await get(api, acme, "/calls", action="stats", start_date="2026-11-01", end_date="2026-11-30")

    assert stats == {
        **dict.fromkeys(("asr", "ner", "acd", "average_cost", "short_call_share")),
        **dict.fromkeys(("seizures", "short_calls"), 0),
        "hangup_causes": {},
        "percentiles": dict.fromkeys(("duration", "answer_delay_ms", "latency_ms"), NO_PERCENTILES),
        "total": 0,
        "by_status": NO_CALLS_BY_STATUS,
        "by_direction": {"inbound": 0, "outbound": 0, "unknown": 0},
        "answered": 0,
        "answer_rate": None,
        "total_duration": 0,
        "average_duration": None,
        "total_cost": 0,
        "average_latency_ms": None,
        "start_date": "2026-11-01",
        "end_date": "2026-11-30",
        "time_zone": "UTC",
    }


async def test_trends_have_a_row_for_every_day(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme, "2026-11-22T10:00:00Z", duration=60, cost="1.5")
    await seed.call(database, acme, "2026-11-22T11:00:00Z", "busy", cost="1.25", applied=True)
    await seed.call(database, acme, "2026-11-24T00:00:00Z", "ringing")

    trends = await get(api, acme, "/calls", action="trends", start_date="2026-11-21", end_date="2026-11-24")

    assert trends == await get(
        api, acme, "/calls/trends", start_date="2026-11-21", end_date="2026-11-24", interval="day"
    )
    assert trends["data"][0] == {
        "date": "2026-11-21",
        "total": 0,
        "by_status": NO_CALLS_BY_STATUS,
        "answered": 0,
        "duration": 0,
        "cost": 0,
        "short_calls": 0,
        **dict.fromkeys(("asr", "ner", "acd", "average_cost", "average_latency_ms", "short_call_share")),
    }
    nothing = {"total": 0, "by_status": NO_CALLS_BY_STATUS, "answered": 0, "duration": 0, "cost": 0}
    counts = [{name: row[name] for name in ("date", *nothing)} for row in trends["data"]]
    assert {**trends, "data": counts} == {
        "data": [
            {"date": "2026-11-21", **nothing},
            {
                "date": "2026-11-22",
                "total": 2,
                "by_status": {**NO_CALLS_BY_STATUS, "completed": 1, "busy": 1},
                "answered": 1,
                "duration": 60,
                "cost": 2.75,
            },
            {"date": "2026-11-23", **nothing},
            {
                "date": "2026-11-24",
                **nothing,
                "total": 1,
                "by_status": {**NO_CALLS_BY_STATUS, "ringing": 1},
            },
        ],
        "interval": "day",
        "start_date": "2026-11-21",
        "end_date": "2026-11-24",
        "time_zone": "UTC",
    }


SPANS = [
    # time zone, now (UTC) -> the last day of the default trends
    ("UTC", "2026-11-24T12:00:00", "2026-11-24"),
    ("Pacific/Apia", "2026-11-24T12:00:00", "2026-11-25"),
    ("Pacific/Apia", "2026-11-24T10:59:59", "2026-11-24"),
    ("America/St_Johns", "2026-11-24T03:29:59", "2026-11-23"),
    ("America/St_Johns", "2026-11-24T03:30:00", "2026-11-24"),
    ("Europe/Berlin", "2026-03-28T22:59:59", "2026-03-28"),
    ("Europe/Berlin", "2026-03-29T21:59:59", "2026-03-29"),
    ("Europe/Berlin", "2026-03-29T22:00:00", "2026-03-30"),
]


async def test_the_last_30_days_end_with_the_organizations_own_today(
    database_url: str, database: Connection
) -> None:
    for time_zone, now, today in SPANS:
        acme = await seed.tenant(database, time_zone)
        async with serving(database_url, now=datetime.fromisoformat(now).replace(tzinfo=UTC)) as api:
            trends = await get(api, acme, "/calls", action="trends")

        days = [row["date"] for row in trends["data"]]
        assert (len(days), days[-1], trends["end_date"]) == (30, today, today), time_zone
        assert (days[0], trends["time_zone"]) == (trends["start_date"], time_zone)


ACROSS = [
    # time zone, first and last day, [(call's time, its day)]
    (
        "Europe/Berlin",  # 23 hours on the 29th
        ("2026-03-28", "2026-03-30"),
        [
            ("2026-03-28T22:59:59Z", "2026-03-28"),
            ("2026-03-28T23:00:00Z", "2026-03-29"),
            ("2026-03-29T01:30:00Z", "2026-03-29"),
            ("2026-03-29T21:59:59Z", "2026-03-29"),
            ("2026-03-29T22:00:00Z", "2026-03-30"),
        ],
    ),
    (
        "America/St_Johns",  # 25 hours on November 1st
        ("2026-10-31", "2026-11-02"),
        [
            ("2026-11-01T02:29:59Z", "2026-10-31"),
            ("2026-11-01T02:30:00Z", "2026-11-01"),
            ("2026-11-02T03:29:59Z", "2026-11-01"),
            ("2026-11-02T03:30:00Z", "2026-11-02"),
        ],
    ),
    (
        "Pacific/Apia",  # 13 hours ahead, at the end of a leap year
        ("2024-12-30", "2025-01-01"),
        [
            ("2024-12-30T10:59:59Z", "2024-12-30"),
            ("2024-12-30T11:00:00Z", "2024-12-31"),
            ("2024-12-31T11:00:00Z", "2025-01-01"),
        ],
    ),
]


async def test_days_are_the_organizations_across_clock_changes_and_years(
    api: httpx.AsyncClient, database: Connection
) -> None:
    for time_zone, (first, last), made in ACROSS:
        acme = await seed.tenant(database, time_zone)
        for created_at, _ in made:
            await seed.call(database, acme, created_at)
        asked = {"start_date": first, "end_date": last}

        trends = await get(api, acme, "/calls", action="trends", **asked)

        days = [day for _, day in made]
        assert [(row["date"], row["total"]) for row in trends["data"]] == [
            (day, days.count(day)) for day in sorted(set(days))
        ]
        for day in set(days):  # the list and stats of each day agree
            one = {"start_date": day, "end_date": day}
            assert (await get(api, acme, "/calls", **one))["total"] == days.count(day)
            assert len((await get(api, acme, "/calls", **one))["data"]) == days.count(day)
            assert (await get(api, acme, "/calls", action="stats", **one))["total"] == days.count(day)

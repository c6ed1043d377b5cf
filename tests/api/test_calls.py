"""The list of calls, one call, and its deletion."""

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from shared.calls.event import Status
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get, get_as, serving, until_somebody_waits_for_a_lock

PHONE = "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11"
OTHER_PHONE = "7a2d3e1f-5d1b-4d0a-9a59-3f0f6f2b7c22"


def ids(answer: dict[str, Any]) -> list[str]:
    return [call["id"] for call in answer["data"]]


async def test_a_call_has_these_fields(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(
        database,
        acme,
        "2026-11-24T11:00:00.123+01:00",
        call_id="3848276298220188511@atlanta.example.com",
        from_number="+4930901820",
        to_number="anonymous",
        direction="inbound",
        duration=93,
        cost="4.6500",
        latency_ms=412,
        phone_number_id=PHONE,
        endpoint_id=OTHER_PHONE,
        recording_url="https://recordings.example.com/1.mp3",
        hangup_cause="NORMAL_CLEARING",
        transcript="Grüß Gott ☎",
    )

    assert await get(api, acme, "/calls") == {
        "data": [
            {
                "id": str(call_id),
                "external_id": "3848276298220188511@atlanta.example.com",
                "from_number": "+4930901820",
                "to_number": "anonymous",
                "direction": "inbound",
                "status": "completed",
                "duration": 93,
                "cost": 4.65,
                "latency_ms": 412,
                "phone_number_id": PHONE,
                "endpoint_id": OTHER_PHONE,
                "recording_url": "https://recordings.example.com/1.mp3",
                "hangup_cause": "NORMAL_CLEARING",
                "organization_id": str(acme.id),
                "livemode": True,
                "created_at": "2026-11-24T10:00:00.123000Z",
                "answered_at": "2026-11-24T10:00:01.123000Z",
                "completed_at": "2026-11-24T10:00:02.123000Z",
                "transcript": "Grüß Gott ☎",
            }
        ],
        "total": 1,
        "page": 1,
        "offset": 0,
        "limit": 20,
        "total_pages": 1,
        "next_cursor": None,
        "transcripts_left_out": [],
    }


async def test_money_is_written_digit_by_digit(api: httpx.AsyncClient, database: Connection) -> None:
    for cost, written in (
        ("12", "12"),
        ("12.5", "12.5"),
        ("0.0001", "0.0001"),
        ("0.00", "0"),
        ("0.1", "0.1"),
    ):
        acme = await seed.tenant(database)
        await seed.call(database, acme, cost=cost)

        listed = await api.get("/calls", headers=bearing(acme.key))
        stats = await api.get("/calls?action=stats", headers=bearing(acme.key))

        assert f'"cost":{written},' in listed.text
        assert f'"total_cost":{written},' in stats.text


async def test_newest_first_and_by_id_where_the_time_is_the_same(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    old = await seed.call(database, acme, "2026-11-01T10:00:00Z")
    same_time = [await seed.call(database, acme, "2026-11-20T10:00:00Z") for _ in range(4)]
    new = await seed.call(database, acme, "2026-11-24T10:00:00Z")

    expected = [new, *sorted(same_time, reverse=True), old]
    assert ids(await get(api, acme, "/calls")) == [str(call_id) for call_id in expected]


async def test_pages_hold_every_call_once(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    made = {str(await seed.call(database, acme, f"2026-11-{day:02}T10:00:00Z")) for day in range(1, 8)}

    pages = [await get(api, acme, "/calls", page=page, limit=3) for page in (1, 2, 3, 4)]

    assert [len(page["data"]) for page in pages] == [3, 3, 1, 0]
    assert [call_id for page in pages for call_id in ids(page)] == ids(
        await get(api, acme, "/calls", limit=100)
    )
    assert {call_id for page in pages for call_id in ids(page)} == made
    assert {(page["total"], page["total_pages"], page["limit"]) for page in pages} == {(7, 3, 3)}


async def test_an_organization_without_calls_has_no_pages(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)

    assert await get(api, acme, "/calls") == {
        "data": [],
        "total": 0,
        "page": 1,
        "offset": 0,
        "limit": 20,
        "total_pages": 0,
        "next_cursor": None,
        "transcripts_left_out": [],
    }


FILTERS: list[tuple[dict[str, str], set[str]]] = [
    ({}, {"a", "b", "c", "d"}),
    ({"status": "completed"}, {"a", "b"}),
    ({"status": "busy"}, {"c"}),
    ({"status": "ringing"}, set()),
    ({"direction": "inbound"}, {"a", "c"}),
    ({"direction": "outbound"}, {"b"}),
    ({"direction": "unknown"}, {"d"}),
    ({"phone_number_id": PHONE}, {"a", "b"}),
    ({"phone_number_id": PHONE.upper()}, {"a", "b"}),
    ({"phone_number_id": str(UUID(int=1))}, set()),
    ({"start_date": "2026-11-22"}, {"b", "c", "d"}),
    ({"end_date": "2026-11-22"}, {"a", "b"}),
    ({"start_date": "2026-11-22", "end_date": "2026-11-22"}, {"b"}),
    ({"start_date": "2026-11-23", "end_date": "2026-11-24"}, {"c", "d"}),
    ({"start_date": "0001-01-01", "end_date": "9999-12-31"}, {"a", "b", "c", "d"}),
    ({"start_date": "9999-12-31"}, set()),
    ({"end_date": "0001-01-01"}, set()),
    ({"status": "completed", "direction": "inbound", "phone_number_id": PHONE}, {"a"}),
    ({"status": "completed", "direction": "inbound", "start_date": "2026-11-22"}, set()),
]


@pytest.mark.parametrize("applied", [False, True], ids=["deltas", "counts"])
async def test_filters_narrow_list_total_stats_and_trends_alike(
    api: httpx.AsyncClient, database: Connection, applied: bool
) -> None:
    acme = await seed.tenant(database, "America/St_Johns")  # 3:30 behind UTC
    made: dict[str, tuple[str, Status, dict[str, Any]]] = {
        # The last moment of a day there, the first moment of the next day, and the first second of the day
        # after.
        "a": ("2026-11-22T03:29:59.999Z", "completed", {"direction": "inbound", "phone_number_id": PHONE}),
        "b": ("2026-11-22T03:30:00Z", "completed", {"direction": "outbound", "phone_number_id": PHONE}),
        "c": ("2026-11-23T03:30:00Z", "busy", {"direction": "inbound", "phone_number_id": OTHER_PHONE}),
        "d": ("2026-11-24T10:00:00Z", "initiated", {}),
    }
    names = {
        str(await seed.call(database, acme, at, status, applied=applied, **data)): name
        for name, (at, status, data) in made.items()
    }

    for filters, expected in FILTERS:
        listed = await get(api, acme, "/calls", **filters)
        assert {names[call_id] for call_id in ids(listed)} == expected, filters
        assert listed["total"] == len(expected), filters
        assert (await get(api, acme, "/calls", action="stats", **filters))["total"] == len(expected), filters
        if not any("01-01" in day or "12-31" in day for day in filters.values()):
            trends = await get(api, acme, "/calls", action="trends", **filters)
            assert sum(day["total"] for day in trends["data"]) == len(expected), filters


async def test_totals_are_exact_whatever_the_aggregator_has_done(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    expected = 0

    async def check() -> None:
        listed = await get(api, acme, "/calls")
        stats = await get(api, acme, "/calls", action="stats")
        trends = await get(api, acme, "/calls", action="trends")
        assert listed["total"] == len(listed["data"]) == stats["total"] == expected
        assert sum(day["total"] for day in trends["data"]) == expected

    for applied in (False, True, False):
        await seed.call(database, acme, applied=applied)
        expected += 1
        await check()
    await seed.apply_deltas(database)
    await check()
    call_id = await seed.call(database, acme, status="busy")
    await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))
    await check()
    await seed.apply_deltas(database)
    await check()


async def test_live_and_test_calls_never_mix(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    live = await seed.call(database, acme)
    test = await seed.call(database, acme, livemode=False)

    for key, own, other in ((acme.key, live, test), (acme.test_key, test, live)):
        listed = await get_as(api, key, "/calls")
        assert ids(listed) == [str(own)]
        assert listed["total"] == 1
        assert listed["data"][0]["livemode"] is (own == live)
        assert (await get_as(api, key, "/calls", action="stats"))["total"] == 1
        trends = await get_as(api, key, "/calls", action="trends")
        assert sum(day["total"] for day in trends["data"]) == 1
        assert (await api.get(f"/calls/{other}", headers=bearing(key))).status_code == 404
        assert (await api.delete(f"/calls/{other}", headers=bearing(key))).status_code == 404


async def test_the_same_routes_answer_under_v1(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)

    for path in ("/calls", "/calls?action=stats", "/calls?action=trends", f"/calls/{call_id}"):
        assert await get(api, acme, f"/v1{path}") == await get(api, acme, path)
    assert (await api.delete(f"/v1/calls/{call_id}", headers=bearing(acme.key))).status_code == 204


async def test_detail_has_the_events_in_order_as_they_were_sent(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    start = datetime(2026, 11, 24, 10, tzinfo=UTC)
    made: list[tuple[str, int, str, dict[str, Any]]] = [
        ("b", 0, "call.initiated", {"from_number": "+1", "campaign": {"name": "☎", "odd": [1, None]}}),
        ("a", 1, "call.answered", {}),
        ("B", 1, "call.updated", {"transcript": "hello"}),
        ("recording", 2, "recording.ready", {"recording_url": "https://recordings.example.com/1.mp3"}),
    ]
    name = str(uuid4())
    call_id = await seed.store(
        database,
        acme,
        [
            seed.event(acme, name, start + timedelta(seconds=after), type_, event_id=event_id, **data)
            for event_id, after, type_, data in reversed(made)
        ],
    )

    answer = await get(api, acme, f"/calls/{call_id}")

    listed = (await get(api, acme, "/calls"))["data"][0]
    assert {field: answer[field] for field in listed} == listed
    assert set(answer) - set(listed) == {"events", "events_total", "recording", "recordings"}
    assert answer["recording"] == {"url": "https://recordings.example.com/1.mp3"}
    # Of two events at the same time, "B" comes before "a", as in the fold.
    assert [event["id"] for event in answer["events"]] == ["b", "B", "a", "recording"]
    assert answer["events"][0] == {
        "id": "b",
        "type": "call.initiated",
        "timestamp": "2026-11-24T10:00:00Z",
        "livemode": True,
        "data": {"from_number": "+1", "campaign": {"name": "☎", "odd": [1, None]}},
    }


async def test_an_events_data_is_answered_letter_by_letter(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme, status="initiated")
    data = '{"cost": 1.10, "big":123456789012345678901234567890, "text": "\\u0041\\ud83d\\ude00"}'
    await database.execute(
        "UPDATE call_events SET payload = $1",
        f'{{"id": "x", "data": {{"first": 1}}, "livemode": null, "data": {data}}}',
    )

    answer = await api.get(f"/calls/{call_id}", headers=bearing(acme.key))

    assert f'"livemode":true,"data":{data}' in answer.text


async def test_an_event_without_data_has_none(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme, status="initiated")
    for payload in ('{"id": "x"}', '{"id": "x", "data": null}'):
        await database.execute("UPDATE call_events SET payload = $1", payload)

        answer = await get(api, acme, f"/calls/{call_id}")

        assert [event["data"] for event in answer["events"]] == [{}]
        assert answer["recording"] is None


@pytest.mark.parametrize("applied", [False, True], ids=["deltas", "counts"])
async def test_a_deleted_call_is_gone_from_everywhere_at_once(
    api: httpx.AsyncClient, database: Connection, applied: bool
) -> None:
    acme = await seed.tenant(database, "Europe/Berlin")
    kept = await seed.call(database, acme, "2026-11-24T09:00:00Z", "initiated", applied=applied)
    gone = await seed.call(
        database,
        acme,
        "2026-11-23T23:30:00Z",  # the 24th in Berlin
        applied=applied,
        direction="outbound",
        phone_number_id=PHONE,
        duration=60,
        cost="1.25",
        latency_ms=100,
        transcript="secret",
    )

    deleted = await api.delete(f"/calls/{gone}", headers=bearing(acme.key))

    assert (deleted.status_code, deleted.content) == (204, b"")
    listed = await get(api, acme, "/calls")
    assert (ids(listed), listed["total"]) == ([str(kept)], 1)
    stats = await get(api, acme, "/calls", action="stats")
    assert (stats["total"], stats["total_cost"], stats["by_direction"]["outbound"]) == (1, 0, 0)
    today = (await get(api, acme, "/calls", action="trends"))["data"][-1]
    assert (today["date"], today["total"], today["duration"], today["cost"]) == ("2026-11-24", 1, 0, 0)
    for again in (api.get, api.delete):
        assert (await again(f"/calls/{gone}", headers=bearing(acme.key))).status_code == 404
    assert await database.fetch("SELECT id FROM call_events WHERE call_id = $1", gone) == []
    tombstones = await database.fetch("SELECT organization_id, call_id FROM deleted_calls")
    assert [tuple(row) for row in tombstones] == [(acme.id, gone)]
    assert await seed.recount(database) == {}


async def test_a_delete_takes_away_exactly_what_the_call_counted_for(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database, "Pacific/Apia")
    sparse = await seed.call(database, acme, status="initiated")
    full = await seed.call(
        database, acme, direction="inbound", phone_number_id=PHONE, duration=7, cost="0.0001", latency_ms=0
    )

    for call_id in (sparse, full):
        await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))

    left = await database.fetch(
        "SELECT day, direction, phone_number_id, status, sum(calls), sum(answered), sum(duration_seconds), "
        "sum(cost_cents), sum(latency_ms), sum(latency_calls), count(*) "
        "FROM daily_call_deltas GROUP BY 1, 2, 3, 4"
    )
    assert [tuple(row)[4:] for row in left] == [(0, 0, 0, 0, 0, 0, 2)] * 2


async def test_a_delete_counts_in_the_day_that_the_call_is_counted_in(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """Also if the organization has changed its time zone since."""
    acme = await seed.tenant(database, "Europe/Berlin")
    call_id = await seed.call(database, acme, "2026-11-23T23:30:00Z")
    await database.execute("UPDATE organizations SET time_zone = 'UTC'")

    await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))

    assert await seed.recount(database) == {}


async def test_a_delete_wakes_the_aggregator(api: httpx.AsyncClient, database: Connection) -> None:
    woken = asyncio.Event()
    await database.add_listener("callfold_deltas", lambda *_: woken.set())
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)

    await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))

    await asyncio.wait_for(woken.wait(), 5)


async def test_a_delete_waits_for_an_event_that_is_just_being_stored(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """The delete then also removes that event, and subtracts the call as it counts after it."""
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme, status="ringing")
    async with database.transaction():
        await database.execute("UPDATE calls SET status = 'in_progress', version = version + 1")
        delete = asyncio.create_task(api.delete(f"/calls/{call_id}", headers=bearing(acme.key)))
        await until_somebody_waits_for_a_lock(database)
        await database.execute(
            "INSERT INTO call_events SELECT organization_id, call_id, 'late', type, occurred_at, payload "
            "FROM call_events LIMIT 1"
        )
        await database.execute("UPDATE daily_call_deltas SET status = 'in_progress'")

    assert (await delete).status_code == 204
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0
    assert await seed.recount(database) == {}


async def test_of_two_deletes_at_once_one_is_told_404(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)

    answers = await asyncio.gather(
        *(api.delete(f"/calls/{call_id}", headers=bearing(acme.key)) for _ in range(5))
    )

    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404, 404]
    assert await seed.recount(database) == {}


async def test_a_delete_that_was_a_deadlocks_victim_is_tried_again(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)
    # The delete checks for deadlocks early and this session late, so the delete is the victim.
    await database.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 20', "
        "current_database()); END $$"
    )
    await database.execute("SET deadlock_timeout = '1min'")
    locked = f"SELECT FROM {{}} WHERE organization_id = '{acme.id}' FOR UPDATE"
    async with database.transaction():
        await database.execute(locked.format("call_events"))
        delete = asyncio.create_task(api.delete(f"/calls/{call_id}", headers=bearing(acme.key)))
        await until_somebody_waits_for_a_lock(database)
        await database.execute(locked.format("calls"))  # granted once the delete is rolled back

    assert (await delete).status_code == 204
    assert await seed.recount(database) == {}


async def test_a_call_that_cannot_be_locked_in_time_is_answered_503(
    database_url: str, database: Connection
) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)
    async with serving(database_url, api_statement_timeout_seconds=0.1) as api, database.transaction():
        await database.execute("SELECT FROM calls WHERE organization_id = $1 FOR UPDATE", acme.id)

        answer = await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))

    assert (answer.status_code, answer.json()["code"]) == (503, "TIMED_OUT")
    assert "Retry-After" in answer.headers


async def test_a_page_and_its_total_are_of_one_snapshot(api: httpx.AsyncClient, database: Connection) -> None:
    """Calls are added, counted and deleted while the list is read repeatedly; every answer is exact."""
    acme = await seed.tenant(database)
    enough = asyncio.Event()

    async def traffic() -> None:
        while not enough.is_set():
            made = [await seed.call(database, acme) for _ in range(3)]
            await seed.apply_deltas(database)
            for call_id in made:
                await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))

    seen = set()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(traffic())
        for reads in itertools.count():
            listed = await get(api, acme, "/calls", limit=100)
            assert listed["total"] == len(listed["data"])
            seen.add(listed["total"])
            if reads > 50 and len(seen) == 4:
                break
        enough.set()
    assert await seed.recount(database) == {}


async def test_empty_texts_of_older_rows_are_no_values(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    texts = ("from_number", "to_number", "hangup_cause", "recording_url", "transcript")
    call_id = await seed.call(database, acme)
    known = await seed.call(
        database, acme, recording_url="https://recordings.example.com/1.mp3", transcript="x"
    )
    await database.execute(
        "UPDATE calls SET from_number = '', to_number = '', hangup_cause = '', recording_url = '', "
        "transcript = '' WHERE id = $1",
        call_id,
    )

    listed = {call["id"]: call for call in (await get(api, acme, "/calls"))["data"]}
    detail = await get(api, acme, f"/calls/{call_id}")
    exported = await api.get("/calls/export?format=ndjson&order=asc", headers=bearing(acme.key))

    lines = [json.loads(line) for line in exported.text.splitlines()]
    for call in (listed[str(call_id)], detail, next(line for line in lines if line["id"] == str(call_id))):
        assert [call[name] for name in texts] == [None] * len(texts)
    assert (detail["recording"], detail["recordings"]) == (None, [])
    link = await api.get(f"/calls/{call_id}/recording", headers=bearing(acme.key))
    assert link.status_code == 404
    for name in ("has_recording", "has_transcript"):
        for flag, only in (("true", known), ("false", call_id)):
            found = await get(api, acme, "/calls", **{name: flag})
            assert [call["id"] for call in found["data"]] == [str(only)]

"""Lists of any size: pages, cursors, filters, orders and totals, and their bounds."""

import base64
import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from unittest.mock import ANY
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.calls.cursor import Place, cursor, place_of
from services.api.calls.list_query import CallFilters
from services.api.calls.listing import question
from services.api.figures.cell_filters import Filters
from services.api.http.errors import ApiError
from shared.calls.event import Status, call_uuid
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get, serving
from tests.support.seed import Tenant

PHONE = "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11"
ENDPOINT = "7a2d3e1f-5d1b-4d0a-9a59-3f0f6f2b7c22"


def ids(answer: dict[str, Any]) -> list[str]:
    return [call["id"] for call in answer["data"]]


async def walk(api: httpx.AsyncClient, tenant: Tenant, **query: object) -> list[dict[str, Any]]:
    """The whole list, read by cursor."""
    answer = await get(api, tenant, "/calls", **query)
    calls = list(answer["data"])
    while answer["next_cursor"] is not None:
        answer = await get(api, tenant, "/calls", cursor=answer["next_cursor"], **query)
        assert (answer["page"], answer["offset"]) == (None, None)
        calls += answer["data"]
    return calls


class Made(NamedTuple):
    """A call to filter by."""

    at: str
    status: Status
    data: dict[str, Any]


MADE = {
    "a": Made(
        "2026-11-22T10:00:00Z",
        "completed",
        {
            "from_number": "+4930901820",
            "to_number": "+498912345678",
            "direction": "inbound",
            "phone_number_id": PHONE,
            "endpoint_id": ENDPOINT,
            "duration": 93,
            "cost": "4.65",
            "hangup_cause": "NORMAL_CLEARING",
            "recording_url": "https://recordings.example.com/1.mp3",
            "transcript": "hello",
        },
    ),
    "b": Made(
        "2026-11-23T10:00:00Z",
        "busy",
        {"from_number": "+498912345678", "to_number": "+49 (30) 90-18 20", "hangup_cause": "USER_BUSY"},
    ),
    "c": Made(
        "2026-11-23T10:00:00.5Z",
        "completed",
        {"from_number": "anonymous", "to_number": "*100#", "duration": 0, "cost": "0"},
    ),
    "d": Made("2026-11-24T10:00:00Z", "ringing", {"endpoint_id": ENDPOINT, "phone_number_id": PHONE}),
    "e": Made("2026-11-24T11:00:00Z", "failed", {"from_number": "+4930901821", "duration": 93, "cost": "9"}),
}

FILTERS: list[tuple[dict[str, object], set[str]]] = [
    ({}, {"a", "b", "c", "d", "e"}),
    ({"status": "busy,failed"}, {"b", "e"}),
    ({"endpoint_id": ENDPOINT}, {"a", "d"}),
    ({"endpoint_id": ENDPOINT, "status": "ringing"}, {"d"}),
    ({"endpoint_id": ENDPOINT, "phone_number_id": PHONE}, {"a", "d"}),
    ({"endpoint_id": uuid4()}, set()),
    ({"from_number": "+4930901820"}, {"a"}),
    ({"from_number": "+493090182"}, set()),
    ({"from_number": "anonymous"}, {"c"}),
    ({"from_number": "+4930*"}, {"a", "e"}),
    ({"from_number": "+4930*", "status": "failed"}, {"e"}),
    ({"from_number": "+49*", "to_number": "+4989*"}, {"a"}),
    ({"from_number": "+4930901821*"}, {"e"}),
    ({"to_number": "+498912345678"}, {"a"}),
    ({"to_number": "+49*"}, {"a", "b"}),
    ({"to_number": "*100*"}, {"c"}),
    ({"to_number": "%"}, set()),
    ({"number": "901820"}, {"a", "b"}),
    ({"number": "+49 30 9018"}, {"a", "b", "e"}),
    ({"number": "12345678"}, {"a", "b"}),
    ({"number": "100"}, {"c"}),
    ({"hangup_cause": "USER_BUSY"}, {"b"}),
    ({"hangup_cause": "user_busy"}, set()),
    ({"counted_cause": "USER_BUSY"}, {"b"}),
    ({"counted_cause": "NONE"}, {"c", "e"}),
    ({"counted_cause": "OTHER"}, set()),
    ({"answered": "true"}, {"a", "c"}),
    ({"answered": "true", "max_duration": 5}, {"c"}),
    ({"answered": "false", "phone_number_id": PHONE}, {"d"}),
    ({"seizure": "true", "endpoint_id": ENDPOINT}, {"a"}),
    ({"seizure": "false"}, {"d"}),
    ({"effective": "true", "end_date": "2026-11-23T10:00:00.5Z"}, {"a", "b"}),
    ({"effective": "false", "status": "failed,busy"}, {"e"}),
    ({"has_phone_number": "true"}, {"a", "d"}),
    ({"has_phone_number": "false"}, {"b", "c", "e"}),
    ({"min_duration": 93}, {"a", "e"}),
    ({"max_duration": 0}, {"c"}),
    ({"min_duration": 1, "max_duration": 92}, set()),
    ({"has_recording": "true"}, {"a"}),
    ({"has_recording": "false"}, {"b", "c", "d", "e"}),
    ({"has_transcript": "true", "has_recording": "true"}, {"a"}),
    ({"has_transcript": "false", "status": "completed"}, {"c"}),
    ({"start_date": "2026-11-23", "has_recording": "false", "end_date": "2026-11-23"}, {"b", "c"}),
    ({"from_date": "2026-11-24", "number": "4930"}, {"e"}),
    ({"start_date": "2026-11-23T10:00:00.5Z"}, {"c", "d", "e"}),
    ({"end_date": "2026-11-23T10:00:00.5Z"}, {"a", "b"}),
    ({"start_date": "2026-11-23T11:00:00+01:00", "end_date": "2026-11-23T10:00:00.500001Z"}, {"b", "c"}),
    ({"start_date": "2026-11-23T10:00:00Z", "end_date": "2026-11-23T10:00:00Z"}, set()),
    ({"start_date": "2026-11-24T10:00:01Z", "status": "failed,ringing"}, {"e"}),
    ({"start_date": "2026-11-23", "end_date": "2026-11-24T11:00:00Z"}, {"b", "c", "d"}),
    ({"start_date": "2026-11-23T00:00:00Z", "hangup_cause": "USER_BUSY"}, {"b"}),
]


async def test_each_filter_in_each_order(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    other = await seed.tenant(database)
    names: dict[str, str] = {}
    for name, (at, status, data) in MADE.items():
        names[str(await seed.call(database, acme, at, status, applied=name in "abc", **data))] = name
        await seed.call(database, acme, at, status, livemode=False, **data)
        await seed.call(database, other, at, status, **data)

    for filters, expected in FILTERS:
        newest_first = sorted(expected, reverse=True)
        for order, in_order in (("desc", newest_first), ("asc", newest_first[::-1])):
            answer = await get(api, acme, "/calls", order=order, **filters)
            assert [names[call_id] for call_id in ids(answer)] == in_order, filters
            assert answer["total"] == len(expected), filters
        without = await get(api, acme, "/calls", order="asc", total="false", **filters)
        assert without == answer | {"total": None, "total_pages": None}, filters
        walked = [names[call["id"]] for call in await walk(api, acme, limit=1, **filters)]
        assert walked == newest_first, filters


async def test_a_call_is_found_by_its_sources_id(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    uuid = str(uuid4())
    for name in ("3848276298220188511@atlanta.example.com", "sip:☎", uuid):
        made = await seed.call(database, acme, call_id=name)

        answer = await get(api, acme, "/calls", external_id=name)

        assert made == call_uuid(acme.id, name)
        assert (ids(answer), answer["total"]) == ([str(made)], 1)
        assert (await get(api, acme, "/calls", external_id=name, status="busy"))["data"] == []
    for nobodys in ("other", str(uuid4())):
        assert (await get(api, acme, "/calls", external_id=nobodys))["data"] == []


async def test_a_plus_that_was_not_escaped_is_understood(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    made = await seed.call(database, acme, "2026-11-24T10:00:00Z", from_number="+4930901820")

    for query in (
        "from_number=+4930901820",
        "from_number=%2B4930901820",
        "from_number=+4930*",
        "start_date=2026-11-24T11:00:00+01:00",
        "end_date=2026-11-24T12:00:00+01:00",
    ):
        answer = await api.get(f"/calls?{query}", headers=bearing(acme.key))
        assert ids(answer.json()) == [str(made)], query


async def test_what_is_not_known_comes_last_in_either_order(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    made: list[tuple[str, int, dict[str, Any]]] = [
        ("short", 1, {"duration": 1, "cost": "2.5"}),
        ("long", 2, {"duration": 10, "cost": "0.0001"}),
        ("none", 3, {"status": "initiated"}),
        ("none later", 4, {"status": "initiated"}),
        ("long later", 4, {"duration": 10, "cost": "0.00"}),
    ]
    names = {
        str(await seed.call(database, acme, f"2026-11-2{day}T10:00:00Z", **data)): name
        for name, day, data in made
    }
    expected = {
        ("duration", "desc"): ["long later", "long", "short", "none later", "none"],
        ("duration", "asc"): ["short", "long", "long later", "none", "none later"],
        ("cost", "desc"): ["short", "long", "long later", "none later", "none"],
        ("cost", "asc"): ["long later", "long", "short", "none", "none later"],
    }

    for (sort, order), in_order in expected.items():
        answer = await get(api, acme, "/calls", sort=sort, order=order)
        walked = await walk(api, acme, sort=sort, order=order, limit=2)
        assert [names[call_id] for call_id in ids(answer)] == in_order
        assert [names[call["id"]] for call in walked] == in_order


async def test_by_offset(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    made = [str(await seed.call(database, acme, f"2026-11-1{day}T10:00:00Z")) for day in range(8)][::-1]

    answer = await get(api, acme, "/calls", offset=3, limit=2)

    assert ids(answer) == made[3:5]
    place = answer["page"], answer["offset"], answer["limit"], answer["total"], answer["total_pages"]
    assert place == (2, 3, 2, 8, 4)
    assert ids(await get(api, acme, "/calls", cursor=answer["next_cursor"], limit=2)) == made[5:7]
    assert ids(await get(api, acme, "/calls", offset=8)) == []


async def test_calls_that_come_between_pages_neither_hide_nor_repeat_others(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    now = "2026-11-24T10:00:00Z"
    before = {str(await seed.call(database, acme, now)) for _ in range(9)}

    queries: list[dict[str, Any]] = [{}, {"order": "asc"}, {"status": "completed"}, {"sort": "duration"}]
    for query in queries:
        answer = await get(api, acme, "/calls", limit=2, **query)
        walked = ids(answer)
        while answer["next_cursor"] is not None:
            if len(walked) < 10:
                for at in ("2026-11-24T09:00:00Z", now, now, "2026-11-24T11:00:00Z"):
                    await seed.call(database, acme, at)
            answer = await get(api, acme, "/calls", limit=2, cursor=answer["next_cursor"], **query)
            walked += ids(answer)
        assert before <= set(walked)
        assert len(walked) == len(set(walked))


async def test_a_deleted_call_at_the_end_of_a_page_holds_no_cursor_up(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    made = [str(await seed.call(database, acme, f"2026-11-1{day}T10:00:00Z")) for day in range(4)][::-1]
    answer = await get(api, acme, "/calls", limit=2)

    await api.delete(f"/calls/{made[1]}", headers=bearing(acme.key))

    assert ids(await get(api, acme, "/calls", cursor=answer["next_cursor"])) == made[2:]


async def test_a_cursor_is_for_its_own_list_alone(api: httpx.AsyncClient, database: Connection) -> None:
    acme, other = await seed.tenant(database), await seed.tenant(database)
    for tenant in (acme, other):
        for livemode in (True, False):
            for _ in range(3):
                await seed.call(database, tenant, livemode=livemode)
    asked = {"limit": 1, "status": "completed,busy"}
    given = (await get(api, acme, "/calls", **asked))["next_cursor"]
    same_list = {"limit": 2, "status": "busy,completed", "total": "false"}
    assert len(ids(await get(api, acme, "/calls", cursor=given, **same_list))) == 2
    foreign = [
        (other.key, {}),
        (acme.test_key, {}),
        (acme.key, {"status": "completed"}),
        (acme.key, {"order": "asc"}),
        (acme.key, {"sort": "duration"}),
        (acme.key, {"start_date": "2026-11-01"}),
        (acme.key, {"cursor": given[:-2]}),
        (acme.key, {"cursor": given + "AA"}),
        (acme.key, {"cursor": ("A" if given[0] != "A" else "B") + given[1:]}),
        (acme.key, {"cursor": "☎"}),
        (acme.key, {"cursor": ""}),
        (acme.key, {"cursor": "A" * 512}),
    ]

    for key, changed in foreign:
        query = {"cursor": given, **asked, **changed}
        answer = await api.get("/calls", params=query, headers=bearing(key))
        assert answer.status_code == 400, changed
        assert answer.json()["error"] == (
            "cursor must be a next_cursor from a list with the same filters and order."
        )


places = st.builds(
    Place,
    st.decimals(min_value=-1, max_value=Decimal("9999999999.9999"), places=4) | st.just(Decimal("Infinity")),
    st.datetimes(timezones=st.just(UTC)).filter(lambda at: 1970 <= at.year < 9999),
    st.uuids(),
)
questions = st.tuples(
    st.uuids(),
    st.booleans(),
    st.none() | st.dates(),
    st.none() | st.lists(st.sampled_from(["busy", "completed"]), min_size=1),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | st.text(),
)


@given(places, questions, questions)
def test_a_cursor_is_read_as_it_was_written(
    place: Place, question: tuple[object, ...], other: tuple[object, ...]
) -> None:
    written = cursor(place, question)

    assert place_of(written, question) == place
    assert set(written) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    if other != question:
        with pytest.raises(ApiError):
            place_of(written, other)


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_other_text_is_no_cursor(text: bytes) -> None:
    for written in (base64.urlsafe_b64encode(text).decode(), text.decode(errors="replace")):
        with pytest.raises(ApiError):
            place_of(written, ())


@pytest.mark.parametrize(
    ("value", "created_at"),
    [
        *((value, "2026-11-24T10:00:00Z") for value in ("NaN", "sNaN", "-Infinity", "1E+99999", "1E-99999")),
        *((value, "2026-11-24T10:00:00Z") for value in ("0E+99999999", "10000000000", "-2")),
        *(("0", instant) for instant in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")),
        ("0", "2026-11-24T10:00:00"),
    ],
)
async def test_a_cursor_that_somebody_made_up_names_a_place_where_a_call_can_be(
    api: httpx.AsyncClient, database: Connection, value: str, created_at: str
) -> None:
    """The digest has no secret: a tenant can compute one for any place."""
    acme = await seed.tenant(database, "America/New_York")
    await seed.call(database, acme)
    of_all = CallFilters(Filters(acme.id, True))
    of_completed = CallFilters(Filters(acme.id, True, status=["completed"]))
    place = Place(Decimal(value), datetime.fromisoformat(created_at), uuid4())
    lists: list[tuple[dict[str, str], tuple[object, ...]]] = [
        ({"sort": "cost"}, question(of_all, "cost", "desc")),
        ({"status": "completed"}, question(of_completed, "created_at", "desc")),
        ({}, question(of_all, "created_at", "desc")),
    ]
    for asked, of_list in lists:
        made_up = cursor(place, of_list)

        answer = await api.get("/calls", params={**asked, "cursor": made_up}, headers=bearing(acme.key))

        assert answer.json()["details"]["field"] == "cursor", answer.text


async def test_any_walk_is_the_whole_list(api: httpx.AsyncClient, database: Connection) -> None:
    """Reads random calls, many with equal time, duration or cost, by cursor, page and offset."""
    chance = random.Random(7)
    acme = await seed.tenant(database, "Europe/Berlin")
    start = datetime(2026, 10, 20, 22, tzinfo=UTC)
    for _ in range(60):
        at = start + chance.randrange(8) * timedelta(days=1, hours=5) + timedelta(minutes=chance.randrange(3))
        status: Status = chance.choice(["completed", "completed", "busy", "failed"])
        data: dict[str, Any] = {
            "duration": chance.choice([None, 0, 5, 60]),
            "cost": chance.choice([None, "0", "1.25"]),
            "phone_number_id": chance.choice([None, PHONE]),
            "from_number": chance.choice([None, "+491", "+492"]),
        }
        await seed.call(database, acme, at.isoformat(), status, applied=chance.random() < 0.5, **data)
    questions: list[dict[str, object]] = [
        {},
        {"status": "busy"},
        {"status": "busy,failed", "phone_number_id": PHONE},
        {"phone_number_id": PHONE},
        {"from_number": "+491"},
        {"from_number": "+49*"},
        {"max_duration": 5},
    ]

    for asked in questions:
        for sort in ("created_at", "duration", "cost"):
            for order in ("desc", "asc"):
                query = {**asked, "sort": sort, "order": order}
                whole = await get(api, acme, "/calls", limit=100, **query)
                calls = whole["data"]
                assert calls == sorted(
                    calls, key=lambda call: _key(call, sort, order), reverse=order == "desc"
                )
                limit = chance.choice([1, 2, 7])
                assert await walk(api, acme, limit=limit, **query) == calls
                offset = chance.randrange(len(calls) + 1)
                here = await get(api, acme, "/calls", limit=limit, offset=offset, **query)
                assert here["data"] == calls[offset : offset + limit]
                assert here["total"] == len(calls) == whole["total"]


def _key(call: dict[str, Any], sort: str, order: str) -> tuple[Any, ...]:
    value = 0 if sort == "created_at" else call[sort]
    if value is None:
        value = -1 if order == "desc" else float("inf")
    return value, call["created_at"], UUID(call["id"])


MANY = """
WITH made AS (
    INSERT INTO calls (organization_id, id, livemode, status, created_at, day, version)
    SELECT $1, gen_random_uuid(), true, CASE n % 10 WHEN 0 THEN 'busy' ELSE 'completed' END,
        at, (at AT TIME ZONE 'UTC')::date, 1
    FROM (
        SELECT n, '2026-11-24T12:00:00Z'::timestamptz - n * interval '10 minutes' AS at
        FROM generate_series(1, $2::int) n
    ) AS times
    RETURNING *
)
INSERT INTO daily_call_deltas (organization_id, livemode, day, direction, phone_number_id, status,
    calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls)
SELECT organization_id, livemode, day, 'unknown', '00000000-0000-0000-0000-000000000000', status,
    count(*), 0, 0, 0, 0, 0
FROM made GROUP BY 1, 2, 3, 6
"""


async def test_a_deep_page_is_the_one_that_walking_there_finds(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await database.execute(MANY, acme.id, 3_000)
    newest_first = [
        str(row["id"])
        for row in await database.fetch("SELECT id FROM calls ORDER BY created_at DESC, id DESC")
    ]

    for order, expected in (("desc", newest_first), ("asc", newest_first[::-1])):
        for offset in (999, 1_001, 1_500, 2_222, 2_990, 3_000):
            answer = await get(api, acme, "/calls", order=order, offset=offset, limit=30)
            assert ids(answer) == expected[offset : offset + 30]
            assert answer["total"] == 3_000
            assert (answer["next_cursor"] is None) == (offset + 30 >= 3_000)
            assert await get(api, acme, "/calls", answered="false", order=order, offset=offset, limit=30) == (
                answer | {"next_cursor": ANY}
            )
    last = await get(api, acme, "/calls", page=60, limit=50)
    assert (ids(last), last["total_pages"]) == (newest_first[-50:], 60)


async def test_what_was_pruned_counts_on_but_is_in_no_list(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    kept = await seed.call(database, acme, "2026-11-24T10:00:00Z", applied=True)
    pruned = await seed.call(database, acme, "2020-01-01T10:00:00Z", applied=True)
    await database.execute(
        "INSERT INTO pruned_call_counts SELECT * FROM daily_call_counts WHERE day < '2021-01-01'"
    )
    await database.execute("DELETE FROM calls WHERE id = $1", pruned)

    for query in ({}, {"status": "completed"}):
        listed = await get(api, acme, "/calls", order="asc", **query)
        assert (ids(listed), listed["total"]) == ([str(kept)], 1)
        assert (await get(api, acme, "/calls", action="stats", **query))["total"] == 2
    for name in ("answered", "seizure", "effective"):
        listed = await get(api, acme, "/calls", **{name: "true"})
        assert (ids(listed), listed["total"]) == ([str(kept)], 1)
        assert (await get(api, acme, "/calls", **{name: "false"}))["total"] == 0


async def test_days_that_overlap_where_a_clock_was_put_back_over_midnight(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """At 00:01 on 29 October 2000, clocks in St. John's were set back to 23:01 on the 28th."""
    acme = await seed.tenant(database, "America/St_Johns")
    back = datetime(2000, 10, 29, 2, 31, tzinfo=UTC)
    made = [
        str(await seed.call(database, acme, (back + timedelta(seconds=seconds)).isoformat()))
        for seconds in (-7200, -3700, -61, -59, -1, 0, 1, 60, 3539, 3541, 7200)
    ][::-1]
    days = [row["day"] for row in await database.fetch("SELECT day FROM calls ORDER BY created_at DESC")]
    assert days != sorted(days, reverse=True), "or this shows nothing"

    for order, expected in (("desc", made), ("asc", made[::-1])):
        for offset in range(len(made)):
            answer = await get(api, acme, "/calls", status="completed", order=order, offset=offset, limit=3)
            assert ids(answer) == expected[offset : offset + 3], offset
        walked = await walk(api, acme, status="completed", order=order, limit=2)
        assert [call["id"] for call in walked] == expected


async def test_what_would_look_at_too_many_calls_is_told_by_how_many(
    database_url: str, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await database.execute(MANY, acme.id, 600)
    await seed.call(database, acme, "2026-11-24T11:59:00Z", from_number="+4930")
    await seed.call(database, acme, "2026-11-20T11:59:00Z", "canceled")
    first_of_many = "start_date=2026-11-24"
    too_many = {
        "hangup_cause=USER_BUSY": "602 calls are in this span",
        "sort=duration": "602 calls are in this span",
        "number=4930&start_date=2026-11-21": "[0-9]+ calls are in this span",
        "counted_cause=NONE": "602 calls are in this span",
        "answered=true&max_duration=5": "602 calls are in this span",
        "has_recording=true&start_date=2026-11-20T00:00:00Z": "More than 150 calls are in this span",
        "start_date=2026-11-20T00:00:00Z": "More than 150 calls match; .* or send total=false",
        "status=busy,canceled&limit=100": "More than 150 other calls lie between the calls of this page",
    }
    fine = [
        "status=completed",
        "status=canceled",  # only one day has such calls
        "status=busy&limit=10",
        "answered=false&limit=10",
        "answered=true",  # only one day has such calls
        "from_number=%2B4930*",
        "from_number=%2B4930&hangup_cause=USER_BUSY",
        "start_date=2026-11-20T00:00:00Z&total=false",
        f"hangup_cause=USER_BUSY&{first_of_many}",
        f"sort=cost&{first_of_many}",
        "offset=550&limit=100",
    ]
    async with serving(database_url, api_search_calls=150) as api:
        for query, sentence in too_many.items():
            answer = await api.get(f"/calls?{query}", headers=bearing(acme.key))
            assert (answer.status_code, answer.json()["code"]) == (400, "TOO_MANY_CALLS"), query
            assert re.match(sentence, answer.json()["error"]), answer.text
            assert answer.json()["details"] == {"calls_max": 150}
        for query in fine:
            answer = await api.get(f"/calls?{query}", headers=bearing(acme.key))
            assert answer.status_code == 200, answer.text


async def test_a_page_has_four_mebibytes_of_transcripts(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    sizes = [10, 20_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 20_000, 10]
    made = [
        str(await seed.call(database, acme, f"2026-11-{20 - n}T10:00:00Z", transcript="x" * size))
        for n, size in enumerate(sizes)
    ]

    answer = await get(api, acme, "/calls")

    given = [None if call["transcript"] is None else len(call["transcript"]) for call in answer["data"]]
    assert given == [10, 20_000, *[1_000_000] * 4, None, None, 10]
    assert answer["transcripts_left_out"] == made[6:8]
    assert (await get(api, acme, "/calls", offset=6))["transcripts_left_out"] == []

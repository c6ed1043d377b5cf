"""The events of a call: the first ones in its detail, all in pages; and conditional requests."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx

from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get

START = datetime(2026, 11, 24, 10, tzinfo=UTC)


async def call_of(database: Connection, tenant: seed.Tenant, events: int, **data: Any) -> UUID:
    """A call with this many events, two at each second; their ids `e…` follow their order."""
    name = str(uuid4())
    return await seed.store(
        database,
        tenant,
        [
            seed.event(
                tenant, name, START + timedelta(seconds=n // 2), "call.updated", event_id=f"e{n:04}", **data
            )
            for n in range(events)
        ],
    )


async def test_all_events_are_there_page_by_page(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    call_id = await call_of(database, acme, 7)
    detail = await get(api, acme, f"/calls/{call_id}")
    pages = []
    offset: int | None = 0
    while offset is not None:
        page = await get(api, acme, f"/calls/{call_id}/events", offset=offset, limit=3)
        assert (page["total"], page["offset"], page["limit"]) == (7, offset, 3)
        pages.append(page["data"])
        offset = page["next_offset"]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [event for page in pages for event in page] == detail["events"]
    assert [event["id"] for event in detail["events"]] == [f"e{n:04}" for n in range(7)]
    assert detail["events_total"] == 7
    beyond = await get(api, acme, f"/calls/{call_id}/events", offset=7)
    assert (beyond["data"], beyond["total"], beyond["next_offset"]) == ([], 7, None)


async def test_a_detail_has_no_more_than_the_first_thousand(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    call_id = await call_of(database, acme, 1002)
    detail = await get(api, acme, f"/calls/{call_id}")
    assert (len(detail["events"]), detail["events_total"]) == (1000, 1002)
    rest = await get(api, acme, f"/calls/{call_id}/events", offset=1000)
    assert [event["id"] for event in rest["data"]] == ["e1000", "e1001"]


async def test_large_events_end_a_page_early_and_none_is_passed_over(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    call_id = await call_of(database, acme, 10, note="x" * 999_000)
    detail = await get(api, acme, f"/calls/{call_id}")
    assert (len(detail["events"]), detail["events_total"]) == (4, 10)
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = await get(api, acme, f"/calls/{call_id}/events", offset=offset, limit=1000)
        assert page["data"]
        seen += [event["id"] for event in page["data"]]
        offset = page["next_offset"]
    assert seen == [f"e{n:04}" for n in range(10)]


async def test_events_of_others_are_not_there(api: httpx.AsyncClient, database: Connection) -> None:
    acme, other = await seed.tenant(database), await seed.tenant(database)
    call_id = await call_of(database, acme, 2)
    for key in (other.key, acme.test_key):
        answer = await api.get(f"/calls/{call_id}/events", headers=bearing(key))
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert (await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))).status_code == 204
    answer = await api.get(f"/calls/{call_id}/events", headers=bearing(acme.key))
    assert answer.status_code == 404


async def test_who_has_the_answer_already_is_told_that_it_is_the_same(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)
    paths = (f"/calls/{call_id}", f"/calls/{call_id}/events", "/calls?action=stats", "/calls?action=trends")

    async def ask(path: str, *named: str) -> httpx.Response:
        headers = [*bearing(acme.key).items(), *(("If-None-Match", tag) for tag in named)]
        return await api.get(path, headers=headers)

    tags = {}
    for path in paths:
        answer = await ask(path)
        tag = tags[path] = answer.headers["ETag"]
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "Authorization, x-api-key, x-organization-id, Accept-Encoding"
        for named in (
            [tag],
            [f"W/{tag}"],
            ["*"],
            [f'"other", {tag}'],
            ['"other"', tag],
            [f'W/"a,b" , W/{tag}'],
        ):
            same = await ask(path, *named)
            assert (same.status_code, same.content) == (304, b""), named
            for header in ("ETag", "Cache-Control", "Vary"):
                assert same.headers[header] == answer.headers[header]
            assert "Content-Type" not in same.headers
        listed = [f'"other", {tag}'], ['"other"', tag], [f'W/"a,b" , W/{tag}']
        for named in ([tag], [f"W/{tag}"], ["*"], *listed):
            same = await ask(path, *named)
            assert (same.status_code, same.content) == (304, b""), named
            for header in ("ETag", "Cache-Control", "Vary"):
                assert same.headers[header] == answer.headers[header]
            assert "Content-Type" not in same.headers
        for named in (['"other"'], [tag.strip('"')], ["nonsense"], [""], [f'{tag[:-2]}"']):
            assert (await ask(path, *named)).content == answer.content, named
    await seed.call(database, acme, call_id=str(uuid4()))
    changed = {path: (await ask(path, tags[path])).status_code for path in paths}
    assert list(changed.values()) == [304, 304, 200, 200], "one call is as it was, the counts are not"
    assert (await ask("/calls?action=stats", tags["/calls?action=trends"])).status_code == 200

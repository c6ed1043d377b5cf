"""The export: a whole list in one answer, from one snapshot, in constant memory, even with a slow client."""

import codecs
import csv
import io
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from services.api.database.databases import open_databases
from services.api.http.errors import ApiError
from shared.database.connection import Connection
from shared.database.roles import API
from shared.settings.api import ApiSettings
from tests.support import seed
from tests.support.api import bearing, get
from tests.support.processes import Service, until
from tests.support.roles import as_role
from tests.support.seed import Tenant

CALLS = int(os.environ.get("EXPORTED_CALLS", "150000"))
"""How many calls to export in constant memory. Exporting 1,000,000 takes a minute."""
MOST_GROWTH_BYTES = 8 * 1024 * 1024

MORE_THAN_BUFFERS = 20_000, 8_000
"""The number of calls and of characters per transcript that exceed the socket buffers."""

MANY = """
INSERT INTO calls (organization_id, id, livemode, status, from_number, transcript, created_at, day, version)
SELECT $1, gen_random_uuid(), true, 'completed', '+4930' || n, repeat('x', $3), at, at::date, 1
FROM (SELECT n, '2026-11-24T12:00:00Z'::timestamptz - n * interval '1 second' AS at
    FROM generate_series(1, $2::int) n) AS times
"""
EXPORTING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = $1
    AND (state = 'active' OR state LIKE 'idle in transaction%')
"""


async def export(
    api: httpx.AsyncClient, tenant: Tenant, headers: dict[str, str] | None = None, **query: str
) -> httpx.Response:
    answer = await api.get(
        "/calls/export",
        params=query,
        headers={"accept-encoding": "identity", **bearing(tenant.key), **(headers or {})},
    )
    assert answer.status_code == 200, answer.text
    return answer


async def test_json_lines_are_the_lists_calls(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    long = "Grüß Gott ☎ " * 10_000
    for day, transcript in ((1, None), (2, "short"), (3, long)):
        await seed.call(
            database, acme, f"2026-11-0{day}T10:00:00Z", cost="1.10", from_number="+49", transcript=transcript
        )
    await seed.call(database, acme, livemode=False)

    queries: list[dict[str, Any]] = [
        {},
        {"order": "asc"},
        {"start_date": "2026-11-02"},
        {"from_number": "+49*"},
        {"number": "123"},
    ]
    for query in queries:
        answer = await export(api, acme, format="ndjson", **query)
        listed = await get(api, acme, "/calls", **query)
        assert [json.loads(line) for line in answer.text.splitlines()] == listed["data"]
    assert answer.headers["content-type"].startswith("application/x-ndjson")


async def test_csv_is_by_rfc_4180_and_has_no_formulas(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    await seed.call(
        database,
        acme,
        "2026-11-24T10:00:00.5Z",
        call_id='=HYPERLINK("http://evil.example")',
        from_number="+4930901820",
        to_number="@SUM(1)",
        hangup_cause="-1",
        recording_url="https://recordings.example.com/1.mp3",
        duration=93,
        cost="4.6500",
        transcript='\t"quoted", and\r\nbroken; ☎',
    )
    await seed.call(database, acme, "2026-11-23T10:00:00Z", "initiated", hangup_cause="\r=1")

    answer = await export(api, acme)

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="calls.csv"'
    assert answer.text.startswith("id,external_id,from_number,")
    assert answer.text.endswith("\r\n")
    listed = (await get(api, acme, "/calls"))["data"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))
    assert [list(row) for row in rows] == [list(call) for call in listed]
    full, sparse = rows
    assert full["external_id"] == '\'=HYPERLINK("http://evil.example")'
    assert (full["from_number"], full["to_number"], full["hangup_cause"]) == (
        "'+4930901820",
        "'@SUM(1)",
        "'-1",
    )
    assert full["transcript"] == '\'\t"quoted", and\r\nbroken; ☎'
    assert (full["duration"], full["cost"], full["livemode"]) == ("93", "4.65", "true")
    assert full["created_at"] == "2026-11-24T10:00:00.500000Z" == listed[0]["created_at"]
    assert (sparse["hangup_cause"], sparse["duration"], sparse["answered_at"]) == ("'\r=1", "", "")


async def test_times_are_written_in_the_time_zone_that_is_asked_for(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database, "America/Vancouver")
    await seed.call(database, acme, "2026-10-25T00:30:00.25Z", "completed")
    await seed.call(database, acme, "2026-10-25T01:30:00Z", "initiated")

    async def created(**query: Any) -> list[str]:
        sheet = await export(api, acme, order="asc", **query)
        rows = list(csv.DictReader(io.StringIO(sheet.text, newline="")))
        lines = await export(api, acme, order="asc", format="ndjson", **query)
        calls = [json.loads(line) for line in lines.text.splitlines()]
        for field in ("created_at", "answered_at", "completed_at"):
            assert [row[field] for row in rows] == [call[field] or "" for call in calls]
        return [row["created_at"] for row in rows]

    assert await created() == ["2026-10-25T00:30:00.250000Z", "2026-10-25T01:30:00Z"]
    assert await created(time_zone="UTC") == await created()
    # The clock in Berlin repeats this hour, so that only the offset distinguishes the two times.
    assert await created(time_zone="Europe/Berlin") == [
        "2026-10-25T02:30:00.250000+02:00",
        "2026-10-25T02:30:00+01:00",
    ]
    # Filters still use days of the organization.
    day = {"start_date": "2026-10-24", "end_date": "2026-10-24"}
    assert len(await created(time_zone="Europe/Berlin", **day)) == 2


async def test_an_offset_that_rfc_3339_cannot_write_leaves_a_time_in_utc(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme, "1971-06-01T12:00:00Z", "initiated")

    for format_ in ("csv", "ndjson"):
        answer = await export(api, acme, format=format_, time_zone="Africa/Monrovia")  # -00:44:30
        assert "1971-06-01T12:00:00Z" in answer.text


async def test_a_byte_order_mark_for_spreadsheets(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme, from_number="Grüß Gott")

    marked = await export(api, acme, bom="true")

    plain = await export(api, acme, bom="false")
    assert marked.content == codecs.BOM_UTF8 + plain.content
    assert plain.content.startswith(b"id,")
    assert (await export(api, acme, bom="true", start_date="2027-01-01")).content.count(codecs.BOM_UTF8) == 1


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("format=ndjson&bom=true", "bom applies only to format=csv."),
        ("bom=yes", "bom must be true or false."),
        *[
            (f"time_zone={name}", "time_zone must be an IANA time zone name such as Europe/Berlin.")
            for name in (
                "Mars/Olympus",
                "europe/berlin",
                "",
                "America",
                "../UTC",
                "/etc/localtime",
                "%2B02:00",
            )
        ],
    ],
)
async def test_what_an_export_cannot_be_asked(
    api: httpx.AsyncClient, database: Connection, query: str, sentence: str
) -> None:
    acme = await seed.tenant(database)
    answer = await api.get(f"/calls/export?{query}", headers=bearing(acme.key))
    assert (answer.status_code, answer.json()["error"]) == (400, sentence)


async def test_without_calls_there_is_a_header_or_nothing(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)

    assert (await export(api, acme)).text.count("\r\n") == 1
    assert (await export(api, acme, format="ndjson")).content == b""


async def test_it_is_compressed_for_who_asks(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    await database.execute(MANY, acme.id, 2_000, 300)
    plain = await export(api, acme)

    for accepted in ("gzip", "br;q=1.0, GZIP;q=0.5"):
        answer = await export(api, acme, {"accept-encoding": accepted})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.content == plain.content  # the client has decompressed it
    for refused in ("identity", "gzip;q=0", "deflate"):
        answer = await export(api, acme, {"accept-encoding": refused})
        assert "content-encoding" not in answer.headers
        assert answer.content == plain.content


@asynccontextmanager
async def process(
    database_url: str, port: int, log: Path, **settings: str
) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """The service as a separate process, and a client of it."""
    service = Service("api", log, database_url=as_role(database_url), api_port=str(port), **settings)

    try:
        await until(lambda: service.said("Uvicorn running"), "the API to be up")
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        ) as client:
            yield service, client
    finally:
        service.stop()


@asynccontextmanager
async def streaming(client: httpx.AsyncClient, tenant: Tenant, **query: str) -> AsyncIterator[httpx.Response]:
    headers = {"accept-encoding": "identity", **bearing(tenant.key)}
    async with client.stream("GET", "/calls/export", params=query, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield answer


def is_over(database: Connection) -> Callable[[], Awaitable[bool]]:
    """Whether the API no longer runs an export in the database."""

    async def over() -> bool:
        exporting: int = await database.fetchval(EXPORTING, API)
        return exporting == 0

    return over


async def test_memory_stays_as_it_is_and_the_state_too(
    database_url: str, database: Connection, free_tcp_port: int, tmp_path: Path
) -> None:
    acme = await seed.tenant(database)
    await database.execute(MANY, acme.id, 1_000, 300)
    async with process(database_url, free_tcp_port, tmp_path / "log") as (service, client):
        for format_ in ("csv", "ndjson"):
            await client.get("/calls/export", params={"format": format_}, headers=bearing(acme.key))
        await database.execute(MANY, acme.id, CALLS, 300)
        itself = psutil.Process(service.pid)
        before = most = itself.memory_info().rss
        lines = read = 0
        async with streaming(client, acme, format="ndjson") as answer:
            async for block in answer.aiter_bytes():
                if read == 0:
                    await seed.call(database, acme, "2020-01-01T00:00:00Z")
                lines += block.count(b"\n")
                read += len(block)
                most = max(most, itself.memory_info().rss)

    assert lines == CALLS + 1_000
    assert read > 10 * MOST_GROWTH_BYTES
    assert most - before < MOST_GROWTH_BYTES


async def test_a_client_that_leaves_ends_the_query(
    database_url: str, database: Connection, free_tcp_port: int, tmp_path: Path
) -> None:
    acme = await seed.tenant(database)
    await database.execute(MANY, acme.id, *MORE_THAN_BUFFERS)
    async with process(database_url, free_tcp_port, tmp_path / "log") as (_, client):
        async with streaming(client, acme) as answer:
            await anext(answer.aiter_bytes())
            assert await database.fetchval(EXPORTING, API) == 1
        await until(is_over(database), "the export to end")
        assert (await get(client, acme, "/calls"))["total"] == 0  # from the counts, which MANY does not write


async def test_the_exports_of_one_organization_leave_others_theirs(database_url: str) -> None:
    acme, globex = uuid4(), uuid4()
    settings = ApiSettings(database_url=as_role(database_url, API), api_export_connections=2)
    async with open_databases(settings) as (database, _):
        async with database.export(acme):
            with pytest.raises(ApiError, match="Too many exports are running"):
                await database.export(acme).__aenter__()
            async with database.export(globex):
                pass
        async with database.export(acme):
            pass


async def test_a_client_that_takes_too_long_is_cut_off(
    database_url: str, database: Connection, free_tcp_port: int, tmp_path: Path
) -> None:
    acme = await seed.tenant(database)
    await database.execute(MANY, acme.id, *MORE_THAN_BUFFERS)
    settings = {"api_export_seconds": "2", "api_export_connections": "1"}
    async with process(database_url, free_tcp_port, tmp_path / "log", **settings) as (service, client):
        async with streaming(client, acme) as answer:
            blocks = answer.aiter_bytes()
            await anext(blocks)
            busy = await client.get("/calls/export", headers=bearing(acme.key))
            assert (busy.status_code, busy.json()["code"]) == (503, "EXPORTS_BUSY")
            assert busy.headers["retry-after"] == "10"
            assert (await client.get("/calls", headers=bearing(acme.key))).status_code == 200
            await until(is_over(database), "the export to be cut")
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in blocks:
                    pass
        assert service.said("an export was aborted: the client read too slowly")
        async with streaming(client, acme) as answer:
            assert answer.status_code == 200


async def test_what_breaks_in_the_middle_does_not_end_as_if_it_were_whole(
    database_url: str, database: Connection, free_tcp_port: int, tmp_path: Path
) -> None:
    acme = await seed.tenant(database)
    await database.execute(MANY, acme.id, *MORE_THAN_BUFFERS)
    async with process(database_url, free_tcp_port, tmp_path / "log") as (service, client):
        async with streaming(client, acme) as answer:
            blocks = answer.aiter_bytes()
            await anext(blocks)
            await database.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 "
                "AND datname = current_database()",
                API,
            )
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in blocks:
                    pass
        assert service.said("an export was aborted: DATABASE_UNAVAILABLE")

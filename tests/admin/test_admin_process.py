"""The admin API in the API's process: off by default, on the monitor port alone, and stopped in time."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from shared.database.connection import Connection
from shared.database.roles import API, OPERATOR
from tests.admin.conftest import TOKEN
from tests.support.monitoring import Monitor
from tests.support.processes import Service, starting, until
from tests.support.roles import as_role

LONGEST_STOP_SECONDS = 9
Start = Callable[..., Service]


@pytest.fixture
def port(free_tcp_port_factory: Callable[[], int]) -> int:
    """The public port."""
    return free_tcp_port_factory()


@pytest.fixture
def start(
    database_url: str, bootstrap: str, topic: str, monitor: Monitor, port: int, tmp_path: Path
) -> Iterator[Start]:
    """Starts an API with the monitor port and Kafka."""
    with starting(
        "api",
        tmp_path,
        database_url=as_role(database_url, API),
        kafka_bootstrap=bootstrap,
        topic=topic,
        api_port=str(port),
        monitor_port=str(monitor.port),
    ) as start:
        yield start


@pytest.fixture
def enabled(start: Start, database_url: str) -> Callable[[], Service]:
    """Starts an API with the admin API."""
    url = as_role(database_url, OPERATOR)
    return lambda: start(admin_token=TOKEN, admin_database_url=url)


async def asked(port: int, method: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return await client.request(method, f"http://127.0.0.1:{port}{path}", headers=headers)


async def test_without_a_token_there_is_no_admin_api(start: Start, monitor: Monitor, port: int) -> None:
    api = start()
    await until(monitor.is_ready, "the API to be ready")
    for one in (monitor.port, port):
        assert (await asked(one, "GET", "/admin/proofs")).status_code == 404
        assert (await asked(one, "GET", "/admin/openapi.json")).status_code == 404
    assert await asyncio.to_thread(api.stop) == -signal.SIGTERM


async def test_it_is_on_the_monitor_port_alone_beside_the_probes(
    enabled: Callable[[], Service], monitor: Monitor, port: int
) -> None:
    api = enabled()
    await until(monitor.is_ready, "the API to be ready")
    assert (await asked(monitor.port, "GET", "/admin/proofs")).json() == {"data": []}
    assert (await asked(port, "GET", "/admin/proofs")).status_code == 404
    assert (await asked(port, "GET", "/admin/openapi.json")).status_code == 404
    assert (await monitor.get("/admin/proofs")).status_code == 401
    live = await monitor.get("/health/live")
    assert (live.json(), live.headers["Cache-Control"]) == ({"status": "live"}, "no-store")
    assert "callfold_api_requests" in await monitor.families()
    lag = (await asked(monitor.port, "GET", "/admin/lag")).json()
    assert [one["lag"] for one in lag["topics"]] == [0]
    assert await asyncio.to_thread(api.stop) == -signal.SIGTERM
    assert TOKEN not in api.log.read_text()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            {"admin_token": TOKEN},
            "CALLFOLD_ADMIN_TOKEN requires CALLFOLD_MONITOR_PORT and CALLFOLD_ADMIN_DATABASE_URL: "
            "the admin API needs a port and a database.",
        ),
        (
            {"admin_token": TOKEN, "monitor_port": "1"},
            "CALLFOLD_ADMIN_TOKEN requires CALLFOLD_ADMIN_DATABASE_URL: "
            "the admin API needs a port and a database.",
        ),
        (
            {"admin_token": TOKEN[:31]},
            "CALLFOLD_ADMIN_TOKEN must have at least 32 characters, all printable ASCII and no space.",
        ),
    ],
)
def test_incomplete_settings_are_one_error(settings: dict[str, str], error: str, tmp_path: Path) -> None:
    api = Service("api", tmp_path / "api.log", **settings)
    assert api._process.wait(20) == 1
    assert api.log.read_text() == f"Error: {error}\n"


async def test_a_monitor_port_in_use_is_an_error(enabled: Callable[[], Service], monitor: Monitor) -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", monitor.port)
    async with server:
        api = enabled()
        await until(lambda: not api.running, "the API to exit")
    assert api.exit_status == 1
    assert f"Error: CALLFOLD_MONITOR_PORT: port {monitor.port} of 127.0.0.1 is in use." in api.log.read_text()


async def test_a_stop_ends_a_running_proof_in_time(
    enabled: Callable[[], Service], monitor: Monitor, database: Connection
) -> None:
    api = enabled()
    await until(monitor.is_ready, "the API to be ready")
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_counts IN ACCESS EXCLUSIVE MODE")
        started = (await asked(monitor.port, "POST", "/admin/proofs")).json()
        (process,) = psutil.Process(api.pid).children()
        await until(
            lambda: database.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"),
            "the proof to be in the middle of its statement",
        )
        assert (await asked(monitor.port, "POST", "/admin/proofs")).json()["code"] == "PROOF_RUNS"
        began = time.monotonic()
        assert await asyncio.to_thread(api.stop) == -signal.SIGTERM, api.log.read_text()
        assert time.monotonic() - began < LONGEST_STOP_SECONDS
        assert not process.is_running()
    row = await database.fetchrow("SELECT id::text, finished_at FROM proofs")
    assert tuple(row or ()) == (started["id"], None), "it is shown as lost when its heartbeat is old"


async def test_a_killed_proof_is_lost_and_another_can_start(
    enabled: Callable[[], Service], monitor: Monitor, database: Connection
) -> None:
    api = enabled()
    await until(monitor.is_ready, "the API to be ready")
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_counts IN ACCESS EXCLUSIVE MODE")
        killed = (await asked(monitor.port, "POST", "/admin/proofs")).json()
        (process,) = psutil.Process(api.pid).children()
        await until(
            lambda: database.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"),
            "the proof to be in the middle of its statement",
        )
        process.kill()
        await until(lambda: api.said("the process of a proof ended with status -9"), "the end to be noticed")

    async def is_lost() -> bool:
        shown = await asked(monitor.port, "GET", f"/admin/proofs/{killed['id']}")
        return bool(shown.json()["state"] == "lost")

    await until(is_lost, "its heartbeat to be old")
    assert (await asked(monitor.port, "POST", "/admin/proofs")).status_code == 202


async def test_a_stop_does_not_wait_for_a_statement_that_hangs(
    enabled: Callable[[], Service], monitor: Monitor, database: Connection
) -> None:
    api = enabled()
    await until(monitor.is_ready, "the API to be ready")
    async with database.transaction():
        await database.execute("LOCK TABLE quarantined_records IN ACCESS EXCLUSIVE MODE")
        asking = asyncio.create_task(asked(monitor.port, "GET", "/admin/quarantine"))
        await until(
            lambda: database.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"),
            "the request to be in the middle of its statement",
        )
        began = time.monotonic()
        assert await asyncio.to_thread(api.stop) == -signal.SIGTERM, api.log.read_text()
        assert time.monotonic() - began < LONGEST_STOP_SECONDS
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.processes
def test_an_api_without_it_loads_no_code_of_operators() -> None:
    code = "import sys, services.api.__main__; sys.exit('services.ops' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

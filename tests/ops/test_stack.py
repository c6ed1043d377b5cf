"""The embedded stack for an operator: it is started, killed in every way, and stopped, with real
processes."""

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from syrupy.assertion import SnapshotAssertion

from services.ops.embedded import postgres, processes, stack
from services.ops.embedded.state import (
    State,
    load,
    locked,
    plan,
    save,
    with_admin_token,
    with_free_ports,
)
from services.ops.embedded.supervisor import SERVICES
from services.ops.terminal.failure import Failure
from shared.calls.zones import RULES_VERSION
from shared.kafka.topic import administration
from tests.support.printed import TERMINAL_OF_80_COLUMNS, steady
from tests.support.processes import until

pytestmark = [pytest.mark.processes, pytest.mark.long]

CALLFOLD = str(Path(sys.executable).with_name("callfold"))
TOPIC = "call-events"
PROGRAMS = ["postgres", "kafka", "receiver", "ingest", "aggregator", "publisher", "webhooks", "api"]
COMPANYS_KAFKA = {
    "CALLFOLD_KAFKA_BOOTSTRAP": "kafka.example.com:9093",
    "CALLFOLD_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "CALLFOLD_KAFKA_USERNAME": "callfold",
    "callfold_kafka_password": "secret",
}
PLACED_BY_OTHER_RULES = """
INSERT INTO organizations (id, name, time_zone, zone_rules)
VALUES (gen_random_uuid(), 'Acme', 'America/Vancouver', '2025b America/Vancouver 0123')
"""


@contextmanager
def place() -> Iterator[Path]:
    """A directory for a stack, whose path has every character that is special in a configuration file. The
    stack is stopped at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="callfold it's 5% #1 ;é ") as scratch:
        # pytest runs as root in a container. PostgreSQL then has its own user, which must be able to enter.
        Path(scratch).chmod(0o755)
        yield Path(scratch) / "state"
        if (Path(scratch) / "state" / "stack.json").exists():
            stack.stop(load(Path(scratch) / "state"))


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for the stack of one test."""
    with place() as directory:
        yield directory


@dataclass(frozen=True)
class Foreground:
    """`callfold up` in the foreground, and what it printed until it was ready."""

    directory: Path
    command: subprocess.Popen[str]
    printed: str


@pytest.fixture(scope="module")
def foreground() -> Iterator[Foreground]:
    """A stack in the foreground, from a shell whose environment also has settings of another Kafka."""
    with place() as directory:
        command = subprocess.Popen(
            [CALLFOLD, "up", "--state", str(directory)],
            env={**os.environ, **COMPANYS_KAFKA},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert command.stdout is not None
        printed = []
        for line in command.stdout:
            printed.append(line)
            if line.startswith("Ctrl-C"):
                break
        yield Foreground(directory, command, "".join(printed))
        if command.poll() is None:
            command.kill()
            command.communicate()


def callfold(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CALLFOLD, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def pids(state: State) -> dict[str, int | None]:
    return {each.name: each.pid for each in stack.statuses(state)}


def all_run(state: State) -> bool:
    return [each.name for each in stack.statuses(state) if each.state == "running"] == PROGRAMS


async def execute(state: State, statement: str) -> object:
    connection = await asyncpg.connect(state.database_url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_stack_survives_whatever_is_killed_and_leaves_nothing_behind(
    directory: Path, snapshot: SnapshotAssertion
) -> None:
    started = callfold("up", "--detach", "--state", directory)
    assert started.returncode == 0, started.stderr
    state = load(directory)
    told = callfold("status", "--json", "--state", directory)
    assert told.returncode == 0, told.stderr
    first = pids(state)
    assert json.loads(told.stdout) == {
        "api_url": state.api_url,
        "receiver_url": state.receiver_url,
        "kafka": state.kafka,
        "database_url": state.database_url,
        "metrics": {
            "receiver": f"http://127.0.0.1:{state.ports.receiver_monitor}/metrics",
            "ingest": f"http://127.0.0.1:{state.ports.ingest_monitor}/metrics",
            "aggregator": f"http://127.0.0.1:{state.ports.aggregator_monitor}/metrics",
            "publisher": f"http://127.0.0.1:{state.ports.publisher_monitor}/metrics",
            "webhooks": f"http://127.0.0.1:{state.ports.webhooks_monitor}/metrics",
            "api": f"http://127.0.0.1:{state.ports.api_monitor}/metrics",
        },
        "processes": [{"name": name, "pid": first[name], "state": "running"} for name in PROGRAMS],
        "time_zone_rules": {"version": RULES_VERSION, "organizations_placed_by_others": []},
    }
    table = callfold("status", "--state", directory).stdout
    assert table in started.stdout, "`up` and `status` use the same words"
    assert [line.split() for line in table.splitlines()[1:12]] == [
        ["API", state.api_url],
        ["console", f"{state.api_url}/console/"],
        ["receiver", state.receiver_url],
        ["Kafka", state.kafka],
        ["PostgreSQL", state.database_url],
        *(["metrics", "of", service, url] for service, url in state.metrics.items()),
    ]
    assert str(state.console_url) in started.stdout
    async with httpx.AsyncClient(trust_env=False) as client:
        address = f"http://127.0.0.1:{state.ports.api_monitor}/admin/lag"
        lag = await client.get(address, headers={"Authorization": f"Bearer {state.admin_token}"}, timeout=30)
        assert lag.status_code == 200, lag.text
    await execute(state, PLACED_BY_OTHER_RULES)
    assert callfold("status", "--state", directory).stdout.splitlines()[-2].strip() == (
        "calls placed by the rules 2025b America/Vancouver 0123: 1 organization in America/Vancouver"
    )
    for service, url in state.metrics.items():
        scraped = (await asyncio.to_thread(httpx.get, str(url), trust_env=False)).text
        assert f'callfold_build_info{{service="{service}"' in scraped
        assert f'callfold_time_zone_rules_info{{version="{RULES_VERSION}"}} 1.0' in scraped
        assert state.log(service).read_text().startswith("20"), "lines for people, which begin with the time"
    await execute(state, "CREATE TABLE kept AS SELECT 42 AS answer")

    # A service dies.
    os.kill(first["ingest"] or 0, signal.SIGKILL)

    async def started_again() -> bool:
        return all_run(state) and pids(state)["ingest"] != first["ingest"]

    await until(started_again, "the supervisor starts ingest again")

    # An operator compacts the topic and adds partitions, and the supervisor dies.
    compacted = ConfigResource(ConfigResourceType.TOPIC, "call-events", configs={"cleanup.policy": "compact"})
    async with administration(state.kafka) as admin:
        await admin.alter_configs([compacted])
        await admin.create_partitions({TOPIC: NewPartitions(12)})
    supervisor = processes.supervisor(state)
    assert supervisor is not None
    supervisor.kill()
    assert processes.wait_until_gone([supervisor], 10) == []
    orphans = stack.statuses(state)
    assert [(each.name, each.state) for each in orphans] == [(name, "orphaned") for name in PROGRAMS]
    again = callfold("up", "--detach", "--state", directory)
    assert again.returncode == 0, again.stderr
    assert "Warning: The topic call-events has cleanup.policy=compact: " in again.stderr
    assert all_run(state)
    assert not set(pids(state).values()) & {each.pid for each in orphans}
    assert await execute(state, "SELECT answer FROM kept") == 42
    assert load(directory) == state, "the ports stay the same"

    # The stack stops.
    family = [each.process for each in processes.owned(state)]
    assert printed(directory, "down") == snapshot(name="down")
    assert [process for process in family if not processes.is_gone(process)] == []
    assert processes.owned(state) == []
    assert [(each.pid, each.state) for each in stack.statuses(state)] == [(None, "stopped")] * len(PROGRAMS)
    assert printed(directory, "down") == snapshot(name="down without a stack")
    assert printed(directory, "down --json") == snapshot(name="down without a stack, as JSON")


async def test_a_stack_starts_when_its_topic_was_deleted(directory: Path) -> None:
    assert callfold("up", "--detach", "--state", directory).returncode == 0
    state = load(directory)
    async with administration(state.kafka) as admin:
        await admin.delete_topics([TOPIC])
    ingest = pids(state)["ingest"]
    os.kill(ingest or 0, signal.SIGTERM)

    async def started_again() -> bool:
        return all_run(state) and pids(state)["ingest"] != ingest

    await until(started_again, "the supervisor to start ingest without a topic")
    assert callfold("down", "--state", directory).returncode == 0
    again = callfold("up", "--detach", "--state", directory)
    assert again.returncode == 0, again.stderr
    told = callfold("lag", "--json", "--state", directory)
    assert [one["partition"] for one in json.loads(told.stdout)["partitions"]] == list(range(8))


def test_a_stack_ignores_settings_of_another_kafka(
    foreground: Foreground, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all_run(load(foreground.directory)), foreground.printed
    for name, value in COMPANYS_KAFKA.items():
        monkeypatch.setenv(name, value)
    for command in (("up", "--detach"), ("topic",), ("lag",)):
        done = callfold(*command, "--state", foreground.directory)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["up --detach", "status", "status --json"])
def test_a_command_on_a_stack_prints(
    foreground: Foreground, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name, setting in TERMINAL_OF_80_COLUMNS.items():
        monkeypatch.setenv(name, setting)
    assert printed(foreground.directory, command) == snapshot


def printed(directory: Path, command: str) -> str:
    """The command's output, its messages and its exit status, without what varies between runs: widths of
    columns vary with the process ids."""
    done = callfold(*command.split(), "--state", directory)
    text = "\n".join(filter(None, [done.stdout, done.stderr]))
    for path in (directory.resolve(), directory):
        text = text.replace(shlex.quote(str(path)), "DIRECTORY").replace(str(path), "DIRECTORY")
    text = re.sub(r'("pid":|(?m:^)[a-z]+ +)\d+', r"\1PID", text)
    text = re.sub("─+", "──", re.sub(" {2,}", "  ", text))
    return f"$ callfold {command} --state DIRECTORY\n{steady(text)}\nexit status {done.returncode}"


def test_ctrl_c_ends_a_stack_in_the_foreground(foreground: Foreground) -> None:
    state = load(foreground.directory)
    assert all_run(state), foreground.printed

    other = callfold("up", "--detach", "--state", foreground.directory)
    assert (other.returncode, "is already running" in other.stderr) == (0, True), other.stderr
    port = str(state.ports.api + 1)
    moved = callfold("up", "--detach", "--state", foreground.directory, "--api-port", port)
    assert (moved.returncode, "down" in moved.stderr) == (1, True), moved.stderr

    foreground.command.send_signal(signal.SIGINT)
    rest, _ = foreground.command.communicate(timeout=60)
    assert (foreground.command.returncode, rest) == (0, "Stopped.\n")
    assert processes.owned(state) == []


def test_a_port_in_use_is_reported_with_its_process_and_the_option_to_change_it(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = callfold("up", "--state", directory, "--kafka-port", str(port))
    name = psutil.Process().name()
    assert refused.returncode == 1
    assert refused.stderr == (
        f"Error: Port {port}, for Kafka, is in use by process {os.getpid()} ({name}). "
        "Choose another with --kafka-port.\n"
    )
    assert not (directory / "stack.json").exists(), "a refused port must not be remembered"


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Failure, match="is a file, or below one"):
            stack.start(path)


def test_a_second_start_of_the_same_stack_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(Failure, match="Another command is starting or stopping"):
        stack.start(tmp_path)


def test_the_state_of_a_stack_without_monitors_is_read(tmp_path: Path) -> None:
    ports = {"postgres": 20001, "kafka": 20002, "controller": 20003, "api": 20004, "supervisor": 20005}
    (tmp_path / "stack.json").write_text(json.dumps({"ports": ports, "password": "x"}))
    told = callfold("status", "--json", "--state", tmp_path)
    assert json.loads(told.stdout)["metrics"] == dict.fromkeys(SERVICES)
    before = load(tmp_path)
    assert plan(tmp_path) == before, "the ports and the token of a running stack do not change"
    assert (before.admin_token, before.console_url) == (None, None)
    started = with_admin_token(with_free_ports(before))
    assert started.console_url == (
        f"http://127.0.0.1:{started.ports.api_monitor}/console/#token={started.admin_token}"
    )
    assert with_admin_token(started) == started
    assert None not in started.ports.monitors.values()
    assert len(set(started.ports.taken)) == 12
    save(started)
    assert load(tmp_path) == started


def test_damaged_state_of_a_stack_is_reported(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"ports": {"kafka": 1')
    with pytest.raises(Failure, match=r"stack\.json is damaged"):
        stack.start(tmp_path)


def test_a_missing_stack_is_reported(tmp_path: Path) -> None:
    refused = callfold("status", "--state", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: There is no stack in {tmp_path}")


def test_an_incomplete_data_directory_is_moved_aside_and_created_again(directory: Path) -> None:
    data = directory / "postgres"
    data.mkdir(parents=True)
    (data / "precious").write_text("?")
    postgres.prepare(data)
    assert (data / "PG_VERSION").exists()
    assert (directory / "postgres.damaged-1" / "precious").read_text() == "?"


def test_data_of_another_postgresql_is_refused(directory: Path) -> None:
    data = directory / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("11\n")
    with pytest.raises(Failure, match="belongs to PostgreSQL 11; the installed version is 18"):
        postgres.prepare(data)

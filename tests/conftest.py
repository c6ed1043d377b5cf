"""Starts the real broker and the real database once per run. Each test gets a fresh database and topic."""

import asyncio
import gc
import tempfile
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest

from services.ops.embedded.servers import Servers, servers
from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from tests.support.collector import Collector, collecting
from tests.support.containers import missing_engine, servers_in_containers
from tests.support.databases import Databases, Given, databases_at
from tests.support.ingesting import GROUP, StartIngest
from tests.support.left_open import forget_what_is_left_open
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline
from tests.support.processes import starting
from tests.support.pure import is_pure, no_process, watch_starts

PARTITIONS = 4
PURE_EXAMPLES = 30
"""The number of examples per law under --pure, which must finish in seconds (100 otherwise)."""
GIVEN = pytest.StashKey[Given | None]()
"""The server of `--postgres`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--containers",
        action="store_true",
        help="run PostgreSQL and Kafka from their official images, and also test callfold's image",
    )
    parser.addoption(
        "--postgres",
        metavar="URL",
        help="create the tests' databases on this server (postgresql://postgres@host:5432), distributed if "
        "it has Citus",
    )
    parser.addoption(
        "--pure", action="store_true", help="run only the tests that need no server and start no process"
    )
    parser.addoption(
        "--screenshots", action="store_true", help="only write the pictures of the console in docs/images"
    )
    parser.addoption("--storm", action="store_true", help="run only the long storms of faults")
    parser.addoption("--seeds", type=int, default=20, help="number of storms (20)")
    parser.addoption("--seed", type=int, default=1, help="the seed of the first storm (1)")
    parser.addoption(
        "--simulation-examples",
        type=int,
        default=60,
        metavar="N",
        help="number of interleavings that tests/simulation/test_simulation.py tries (60)",
    )
    parser.addoption(
        "--schemathesis-examples",
        type=int,
        default=12,
        metavar="N",
        help="number of requests that tests/api/test_schemathesis.py generates per route (12)",
    )


def pytest_configure(config: pytest.Config) -> None:
    watch_starts()
    config.stash[GIVEN] = _given(config.getoption("--postgres"))
    # No law is about time: on a busy machine an example may take long, and generating one as well.
    hypothesis.settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.register_profile(
        "pure", hypothesis.settings.get_profile("untimed"), max_examples=PURE_EXAMPLES
    )
    hypothesis.settings.load_profile("pure" if config.getoption("--pure") else "untimed")


def _given(url: str | None) -> Given | None:
    if url is None:
        return None
    try:
        return asyncio.run(Given.at(url))
    except (ValueError, OSError, asyncpg.PostgresError) as error:
        raise pytest.UsageError(f"--postgres: {error}") from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Makes a test that is marked as pure fail if it starts a process, in every run."""
    if not is_pure(item):
        return (yield)
    with no_process():
        return (yield)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test with the argument `storm_seed` once per seed."""
    if "storm_seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("--seed")
        metafunc.parametrize("storm_seed", range(first, first + metafunc.config.getoption("--seeds")))


def pytest_report_header(config: pytest.Config) -> str | None:
    if given := config.stash[GIVEN]:
        return f"--postgres: {given}"
    if config.getoption("--containers") and (missing := missing_engine()):
        return f"--containers: {missing}. The embedded servers run instead."
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    """Reports in the summary what a run with --containers could not test."""
    yield
    if config.getoption("--containers") and (missing := missing_engine()):
        skipped = [each for each in terminalreporter.getreports("skipped") if "containers" in each.keywords]
        files = ", ".join(sorted({each.nodeid.partition("::")[0] for each in skipped}))
        terminalreporter.write_line(
            f"--containers: {missing}. NOT TESTED: the servers' images, for which the embedded servers "
            f"stood in, and {len(skipped)} tests of {files or 'no file'}.",
            yellow=True,
            bold=True,
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests that the options select, long ones first, so that none is left running alone at the
    end."""
    reason = missing_engine() if config.getoption("--containers") else "needs --containers"
    given = config.stash[GIVEN]
    for item in items:
        if given and given.has_citus and (mark := item.get_closest_marker("one_postgres")):
            item.add_marker(pytest.mark.skip(reason=f"not on Citus: {mark.args[0]}"))
        if reason and item.get_closest_marker("containers"):
            item.add_marker(pytest.mark.skip(reason=reason))
    storms, pure, pictures = (config.getoption(name) for name in ("--storm", "--pure", "--screenshots"))
    wanted = [
        item
        for item in items
        if (item.get_closest_marker("storm") is not None) == storms
        and (item.get_closest_marker("screenshots") is not None) == pictures
        and (not pure or is_pure(item))
    ]
    config.hook.pytest_deselected(items=list(set(items) - set(wanted)))
    items[:] = sorted(wanted, key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Takes the modules' objects out of garbage collections, which many tests cause by themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def running(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """Starts both servers without durability: data survives a crash of a process, not of the machine."""
    if pytestconfig.getoption("--pure"):
        pytest.fail("a test that runs under --pure requested the servers")
    in_containers = pytestconfig.getoption("--containers") and missing_engine() is None
    with tempfile.TemporaryDirectory(prefix="callfold-tests-", ignore_cleanup_errors=True) as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        start = servers_in_containers(directory) if in_containers else servers(directory, durable=False)
        with start as both:
            forget_what_is_left_open()
            yield both


@pytest.fixture(scope="session")
def embedded_databases(running: Servers) -> Databases:
    """The tests' databases on the embedded PostgreSQL, which a test may kill or put something in front of."""
    return Databases(running.database_url(""))


@pytest.fixture(scope="session")
async def databases(pytestconfig: pytest.Config, embedded_databases: Databases) -> AsyncIterator[Databases]:
    """The tests' databases: on the server of `--postgres`, or on the embedded one."""
    given = pytestconfig.stash[GIVEN]
    if given is None:
        yield embedded_databases
        return
    async with databases_at(given.url, distributed=given.has_citus) as databases:
        yield databases


@pytest.fixture
async def database_url(
    request: pytest.FixtureRequest, databases: Databases, embedded_databases: Databases
) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database for this test, as its owner. `tests.support.roles.as_role` names
    another role."""
    embedded = request.node.get_closest_marker("embedded_postgres")
    async with (embedded_databases if embedded else databases).migrated() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Connection]:
    """A connection to this test's database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    if not connection.is_closed():
        await connection.close(timeout=5)


@pytest.fixture
async def rival(database_url: str) -> AsyncIterator[Connection]:
    """A second connection to this test's database, for a concurrent writer."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def bootstrap(running: Servers) -> str:
    """The address of the broker."""
    return running.bootstrap


@pytest.fixture
async def topic(bootstrap: str) -> str:
    """A fresh topic of 4 partitions for this test."""
    name = f"call-events-{uuid.uuid4().hex[:12]}"
    await ensure_topic(bootstrap, name, PARTITIONS)
    return name


@pytest.fixture
def start_ingest(bootstrap: str, topic: str, database_url: str, tmp_path: Path) -> Iterator[StartIngest]:
    """Starts ingest processes of one group, and kills those that still run at the end."""
    with starting(
        "ingest",
        tmp_path,
        database_url=database_url,
        kafka_bootstrap=bootstrap,
        topic=topic,
        consumer_group=f"{GROUP}-{topic}",
        session_timeout_seconds="2",
    ) as start:
        yield start


@pytest.fixture
def pipeline(bootstrap: str, topic: str, database_url: str, start_ingest: StartIngest) -> Pipeline:
    """The topic, ingest processes and database of this test."""
    return Pipeline(bootstrap, topic, database_url, start_ingest)


@pytest.fixture
def monitor(free_tcp_port: int) -> Monitor:
    """The monitor of a service that this test starts with `monitor_port`."""
    return Monitor(free_tcp_port)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of traces for this test."""
    with collecting() as collector:
        yield collector

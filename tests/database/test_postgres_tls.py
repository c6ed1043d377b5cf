"""PostgreSQL over TLS, and with every kind of address that a URL can name."""

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from services.ops.embedded.servers import Servers
from shared.database.connection import connect
from shared.migrations.give_roles import missing
from tests.support import seed
from tests.support.api import get, serving
from tests.support.command_line import callfold
from tests.support.ingesting import assert_exact, call
from tests.support.pipeline import Pipeline
from tests.support.processes import lag, until
from tests.support.tls_postgres import TlsPostgres, needs_postgres_with_tls, tls_postgres

pytestmark = [pytest.mark.processes, needs_postgres_with_tls]

Url = Callable[[TlsPostgres], str]


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[TlsPostgres]:
    """One server for all tests here, migrated over TLS."""
    with tempfile.TemporaryDirectory(prefix="callfold-tls-") as scratch:
        async with tls_postgres(Path(scratch)) as server:
            url = server.url(sslmode="verify-full", sslrootcert=server.file("authority"))
            assert (await callfold("migrate", "--roles", database_url=url)).status == 0
            yield server


async def test_a_call_from_kafka_to_the_api(pipeline: Pipeline, server: TlsPostgres) -> None:
    url = server.url(sslmode="verify-full", sslrootcert=server.file("authority"))
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url=url)
    await pipeline.consumed()
    database = await asyncpg.connect(url)
    await assert_exact(url, database, 1)
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    async with serving(url) as api:
        assert (await get(api, acme, "/calls"))["total"] == 1
    assert await missing(database) == {}, "also as another version of PostgreSQL reports its policies"
    await database.close()
    assert ingest.stop() == 0


ADDRESSES: dict[str, Url] = {
    "a client's certificate": lambda server: server.url(
        user="certified",
        sslmode="verify-full",
        sslrootcert=server.file("authority"),
        sslcert=server.file("certified"),
        sslkey=server.file("certified"),
    ),
    "any name of the server": lambda server: server.url(
        host="127.0.0.1", sslmode="verify-ca", sslrootcert=server.file("authority")
    ),
    "any certificate": lambda server: server.url(sslmode="require"),
    "several hosts": lambda server: (
        f"postgres://postgres@localhost:1,localhost:{server.port}/callfold"
        f"?sslmode=verify-full&sslrootcert={server.file('authority')}&target_session_attrs=read-write"
    ),
    "a socket": lambda server: f"postgresql://postgres@/callfold?host={server.directory}&port={server.port}",
}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
async def test_an_address_is_the_same_to_services_and_migrations(server: TlsPostgres, address: Url) -> None:
    url = address(server)
    connection = await connect(url, application_name="test")
    over_tls = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert await connection.fetchval(over_tls) == ("sslmode" in url)
    await connection.close()
    if "certified" in url:  # owns no table, and so cannot migrate
        refused = await callfold("migrate", database_url=url)
        assert refused.failure.endswith("permission denied for table alembic_version.")
    else:
        assert (await callfold("migrate", database_url=url)).output == "The database is up to date.\n"


REFUSED: dict[str, tuple[Url, str]] = {
    "an authority that is not ours": (
        lambda server: server.url(sslmode="verify-full", sslrootcert=server.file("other")),
        "can't be reached at callfold on localhost:{port}: TLS failed: the server's certificate is refused: "
        "self-signed certificate in certificate chain.",
    ),
    "a name that is not the server's": (
        lambda server: server.url(
            host="127.0.0.1", sslmode="verify-full", sslrootcert=server.file("authority")
        ),
        "can't be reached at callfold on 127.0.0.1:{port}: TLS failed: the server's certificate is refused: "
        "IP address mismatch, certificate is not valid for '127.0.0.1'.",
    ),
    "no TLS": (
        lambda server: server.url(sslmode="disable"),
        'refuses the connection to callfold on localhost:{port}: no pg_hba.conf entry for host "127.0.0.1", '
        'user "postgres", database "callfold", no encryption.',
    ),
    "no certificate": (
        lambda server: server.url(user="certified", sslmode="require"),
        "refuses the connection to callfold on localhost:{port}: connection requires a valid client "
        "certificate.",
    ),
    "a certificate that the server refuses": (
        lambda server: server.url(
            user="certified",
            sslmode="require",
            sslcert=server.file("stranger"),
            sslkey=server.file("stranger"),
        ),
        "can't be reached at callfold on localhost:{port}: TLS failed, perhaps because the server refuses "
        "the certificate in sslcert (connection was closed in the middle of operation).",
    ),
    "a file that is no certificate": (
        lambda server: server.url(sslmode="verify-ca", sslrootcert=__file__),
        "can't be reached at callfold on localhost:{port}: TLS failed: no certificate or crl found.",
    ),
}


@pytest.mark.parametrize(("address", "sentence"), REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_told_in_a_sentence(
    server: TlsPostgres, address: Url, sentence: str
) -> None:
    for command in (("org", "list"), ("migrate",), ("verify",)):
        told = await callfold(*command, database_url=address(server))
        assert told.failure == f"PostgreSQL {sentence.format(port=server.port)}"


async def test_a_server_without_tls_is_told(running: Servers, database_url: str) -> None:
    told = await callfold("org", "list", database_url=f"{database_url}?sslmode=require")
    assert told.failure.endswith("rejected SSL upgrade.")


async def test_a_certificate_that_is_refused_is_waited_for(
    pipeline: Pipeline, server: TlsPostgres, bootstrap: str, topic: str
) -> None:
    """The certificate can be renewed. Its exception is also a ValueError, which must not turn a record into a
    bad one."""
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url=server.url(sslmode="verify-full", sslrootcert=server.file("other")))
    await until(lambda: ingest.said("TLS failed: the server's certificate is refused"), "ingest to report it")
    assert ingest.stop() == 0
    assert not ingest.said("quarantine")
    assert await lag(bootstrap, topic, f"test-{topic}") == 4

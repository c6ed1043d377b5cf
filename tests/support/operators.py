"""The console of operators on a port of this machine, with something to show on each of its pages."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.ops.addresses import Place
from services.ops.admin.app import create_admin_app
from shared.database.connection import Connection
from shared.database.roles import OPERATOR
from shared.http.server import Limits, bounded
from shared.http.serving import Address, serving
from shared.kafka.topic import ensure_topic
from shared.monitoring.monitor import Probes
from shared.settings.ingest import IngestSettings
from shared.store.quarantine import BadRecord
from tests.support import seed
from tests.support.api import NOW
from tests.support.console import ACME, seed_calls
from tests.support.events import value
from tests.support.ingesting import GROUP
from tests.support.roles import as_role
from tests.support.storing import record, store

TOKEN: Final = "a-token-of-the-tests-with-32-characters"
STRANGER: Final = UUID(int=9)
"""An organization that does not exist."""
CALLS_AT_RANDOM: Final = 20
CALLS: Final = CALLS_AT_RANDOM + 4
GONE: Final = "It has answered 410: it wants no further messages."


class OperatorsConsole(NamedTuple):
    """A running console of operators."""

    origin: str
    database_url: str
    topic: str

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Connection]:
        """A connection to its database as the owner."""
        connection = await asyncpg.connect(self.database_url)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def serving_operators(database_url: str, bootstrap: str, topic: str) -> AsyncIterator[OperatorsConsole]:
    """The monitor port of an API with the admin API, on this database and the topics of a group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = IngestSettings(
        kafka_bootstrap=bootstrap,
        topic=topic,
        deliveries_topic=deliveries_of(topic),
        consumer_group=f"{GROUP}-{topic}",
    )
    place = Place(as_role(database_url, OPERATOR))
    app = create_admin_app(SecretStr(TOKEN), place, settings, Probes(CollectorRegistry(), _no_reason))
    limits = Limits(100, 10, body_bytes=65_536, body_is_read=True, server="monitor")
    address = Address(host="127.0.0.1", port=port, setting="MONITOR_PORT")
    async with serving(app, bounded(limits), address, keep_alive_seconds=65, stop_seconds=1):
        yield OperatorsConsole(f"http://127.0.0.1:{port}", database_url, topic)


async def _no_reason() -> str | None:
    return None


def deliveries_of(topic: str) -> str:
    """The topic of deliveries beside a topic of events."""
    return topic.replace("events", "deliveries")


@asynccontextmanager
async def operators_of(database_url: str, bootstrap: str) -> AsyncIterator[OperatorsConsole]:
    """The console of a fresh database and fresh topics, with calls, quarantined records, sources and a
    webhook."""
    topic = f"call-events-{uuid4().hex[:12]}"
    await ensure_topic(bootstrap, topic, 2)
    await ensure_topic(bootstrap, deliveries_of(topic), 2)
    async with serving_operators(database_url, bootstrap, topic) as console:
        async with console.database() as database:
            acme = await seed.tenant(database, "Europe/Berlin", ACME)
            await seed_calls(database, acme, CALLS_AT_RANDOM)
            await quarantine(database, b"{", reason="the value is not JSON: it ends too early")
            await quarantine(database, b'{"id": "evt_1"}', b'{"id": "evt_2"}', reason="timestamp: is missing")
            await _sources(database)
            await _webhooks(database, acme)
        yield console


async def quarantine(database: Connection, *values: bytes, reason: str) -> list[UUID]:
    """Quarantines records with these values, each a second later. Returns their ids."""
    known: int = await database.fetchval("SELECT count(*) FROM quarantined_records")
    bad = [BadRecord(record(one, offset=known + n), reason) for n, one in enumerate(values)]
    await store(database, [], bad, now=NOW)
    for n, one in enumerate(bad):
        at = NOW + timedelta(seconds=known + n)
        await database.execute("UPDATE quarantined_records SET quarantined_at = $2 WHERE id = $1", one.id, at)
    return [one.id for one in bad]


def of_a_stranger() -> bytes:
    """An event that is valid as soon as its organization exists."""
    return value("call.initiated", organization_id=STRANGER)


async def _sources(database: Connection) -> None:
    for name, topic, enabled in (("proxy", "proxy-calls", True), ("vendor", None, False)):
        await database.execute(
            "INSERT INTO sources (id, name, dialect, topic, enabled) VALUES ($1, $2, 'twilio', $3, $4)",
            uuid4(),
            name,
            topic,
            enabled,
        )


async def _webhooks(database: Connection, acme: seed.Tenant) -> None:
    webhook_id = await seed.webhook(database, acme.id)
    await database.execute(
        "UPDATE webhooks SET enabled = false, disabled_reason = $2 WHERE id = $1", webhook_id, GONE
    )

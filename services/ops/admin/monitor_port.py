"""The monitor port of an API with the admin API: the same probes, and the routes for operators."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry

from services.ops.addresses import Place
from services.ops.admin.app import create_admin_app
from shared.http.server import Limits, bounded
from shared.http.serving import Address, SecondServer, serving
from shared.monitoring.monitor import Probes, WhyWaiting
from shared.settings.api import ApiSettings
from shared.settings.ingest import IngestSettings

CONNECTIONS_MAX: Final = 64
CLIENT_SECONDS: Final = 10
BODY_BYTES_MAX: Final = 64 * 1024
KEEP_ALIVE_SECONDS: Final = 65
STOP_SECONDS: Final = 1
"""How long running requests may take after a stop. Then they have 5 s to close their connections."""


@asynccontextmanager
async def monitored_with_admin(
    settings: ApiSettings,
    registry: CollectorRegistry,
    why_waiting: WhyWaiting,
) -> AsyncIterator[SecondServer]:
    """Serves metrics, health, the admin API and the console on the monitor port for the duration of the
    block. The settings must have a token. Pass the server to `serve`, which stops it. If it cannot listen on
    the port, the process exits with a sentence. Raises InvalidSetting for invalid settings of Kafka."""
    if settings.admin_token is None or settings.admin_database_url is None or settings.monitor_port is None:
        raise ValueError("the admin API needs a token, a database and a port")
    app = create_admin_app(
        settings.admin_token,
        Place(settings.admin_database_url, pooler=settings.database_pooler),
        IngestSettings(),
        Probes(registry, why_waiting),
    )
    limits = Limits(CONNECTIONS_MAX, CLIENT_SECONDS, BODY_BYTES_MAX, body_is_read=True, server="monitor")
    address = Address(host=settings.monitor_host, port=settings.monitor_port, setting="MONITOR_PORT")
    async with serving(
        app, bounded(limits), address, keep_alive_seconds=KEEP_ALIVE_SECONDS, stop_seconds=STOP_SECONDS
    ) as server:
        yield server

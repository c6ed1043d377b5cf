"""`python -m services.api`: serves the API until SIGTERM or Ctrl-C."""

import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvloop

from services.api.app import create_app
from services.api.health import why_waiting
from services.api.metrics import Metrics, route_of
from shared.http.server import Limits, bounded
from shared.http.serving import Address, SecondServer, serve
from shared.monitoring import logs, traces
from shared.monitoring.monitor import WhyWaiting, monitored
from shared.settings.api import ApiSettings
from shared.settings.base import InvalidSetting, exit_when_invalid
from shared.settings.kafka import KafkaSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

STOP_SECONDS: Final = 7
"""How long running requests may take after a stop. With closing the pools and sending spans, under 10 s."""
BODY_BYTES_MAX: Final = 64 * 1024
"""Bodies describe a webhook."""

log = logging.getLogger("callfold.api")


async def main(settings: ApiSettings, tracer_provider: "TracerProvider | None") -> None:
    """Runs one process. Exits with an error message if it cannot use the port."""
    metrics = Metrics()
    with exit_when_invalid():  # a setting may need a package that is not installed
        app = create_app(settings, metrics=metrics, kafka=_kafka())

    def stopping() -> None:
        app.state.api.streams.end()

    served: Any = app
    if tracer_provider is not None:
        from shared.http.traces import TracedApplication

        served = TracedApplication(app, tracer_provider, route_of)
    limits = Limits(
        settings.api_connections,
        settings.api_client_seconds,
        body_bytes=BODY_BYTES_MAX,
        body_is_read=True,
        server="API",
    )
    async with _monitored(settings, metrics, partial(why_waiting, app)) as beside:
        await serve(
            served,
            bounded(limits),
            Address(host=settings.api_host, port=settings.api_port, setting="API_PORT"),
            keep_alive_seconds=settings.api_keep_alive_seconds,
            stop_seconds=STOP_SECONDS,
            stopping=stopping,
            beside=beside,
        )


@contextlib.asynccontextmanager
async def _monitored(
    settings: ApiSettings, metrics: Metrics, why_waiting: WhyWaiting
) -> AsyncIterator[SecondServer | None]:
    """Serves the monitor port for the duration of the block, with the admin API if the operator enables
    it."""
    if settings.admin_token is None:
        async with monitored(settings, metrics.registry, why_waiting):
            yield None
        return
    # An API without it must not load the operator's code.
    from services.ops.admin.monitor_port import monitored_with_admin

    with exit_when_invalid():
        async with monitored_with_admin(settings, metrics.registry, why_waiting) as server:
            yield server


def _kafka() -> KafkaSettings | None:
    """How streams reach Kafka. All other routes work without it, so its settings must not stop the API."""
    try:
        return KafkaSettings()
    except InvalidSetting as error:
        log.warning("streams are refused: %s", error)
        return None


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("api")
        read = ApiSettings()
        provider = traces.start(read, "api", root_ratio=read.traces_ratio)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(read, provider))

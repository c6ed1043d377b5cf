"""`python -m services.api`: serves the API until SIGTERM or Ctrl-C."""

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvloop

from services.api.app import create_app
from services.api.health import why_waiting
from services.api.metrics import Metrics, route_of
from shared.http.server import Limits, bounded
from shared.http.serving import Address, serve
from shared.monitoring import logs, traces
from shared.monitoring.monitor import monitored
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
    async with monitored(settings, metrics.registry, partial(why_waiting, app)):
        await serve(
            served,
            bounded(limits),
            Address(host=settings.api_host, port=settings.api_port, setting="API_PORT"),
            keep_alive_seconds=settings.api_keep_alive_seconds,
            stop_seconds=STOP_SECONDS,
            stopping=stopping,
        )


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

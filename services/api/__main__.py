"""`python -m services.api`: serves the API until SIGTERM or Ctrl-C."""

import contextlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from services.api.app import create_app
from services.api.health import why_waiting
from services.api.http.server import Limits, bounded
from services.api.metrics import Metrics
from shared.monitoring import logs, traces
from shared.monitoring.monitor import monitored
from shared.settings.api import ApiSettings
from shared.settings.base import PREFIX, exit_when_invalid

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

STOP_SECONDS = 7
"""How long running requests may take after a stop. With closing the pools and sending spans, under 10 s."""


async def main(settings: ApiSettings, tracer_provider: "TracerProvider | None") -> None:
    """Runs one process. Exits with an error message if it cannot use the port."""
    metrics = Metrics()
    with exit_when_invalid():  # a setting may need a package that is not installed
        app = create_app(settings, metrics=metrics)
    served: Any = app
    if tracer_provider is not None:
        from services.api.traces import TracedApplication

        served = TracedApplication(app, tracer_provider)
    server = uvicorn.Server(
        uvicorn.Config(
            served,
            host=settings.api_host,
            port=settings.api_port,
            http=bounded(Limits(settings.api_connections, settings.api_client_seconds)),
            timeout_keep_alive=settings.api_keep_alive_seconds,
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # it would trust every client on this machine
            timeout_graceful_shutdown=STOP_SECONDS,
            reset_contextvars=True,  # a request must not inherit the log context of the previous one
        )
    )
    async with monitored(settings, metrics.registry, partial(why_waiting, app)):
        try:
            await server.serve()
        except SystemExit:  # uvicorn has logged the fault
            if server.lifespan.should_exit:  # the port was not the cause
                raise
            port = f"port {settings.api_port} of {settings.api_host}"
            sys.exit(f"Error: {PREFIX}API_PORT: cannot listen on {port}; the reason is logged above.")
    if not server.started:
        sys.exit(uvicorn.config.STARTUP_FAILURE)


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("api")
        read = ApiSettings()
        provider = traces.start(read, "api", root_ratio=read.traces_ratio)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(read, provider))

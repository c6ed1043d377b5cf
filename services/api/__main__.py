"""`python -m services.api`: serves the API until SIGTERM or Ctrl-C."""

import contextlib
import sys
from functools import partial

import uvicorn
import uvloop

from services.api.app import create_app
from services.api.health import why_waiting
from shared import logs
from shared.monitor import monitored
from shared.settings import ApiSettings, exit_when_invalid

STOP_SECONDS = 8
"""How long requests in hand may take after a stop; with the pool's closing, under 10 s."""


async def main(settings: ApiSettings) -> None:
    """Runs one process; exits with uvicorn's status when the port can't be had."""
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    async with monitored(settings, app.state.metrics.registry, partial(why_waiting, app)):
        await server.serve()
    if not server.started:
        sys.exit(uvicorn.config.STARTUP_FAILURE)


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("api")
        read = ApiSettings()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(read))

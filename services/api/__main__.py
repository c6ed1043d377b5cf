"""`python -m services.api`: serves the API until SIGTERM or Ctrl-C."""

import logging

import uvicorn

from services.api.app import create_app
from shared.settings import ApiSettings, LogSettings, exit_when_invalid

STOP_SECONDS = 8
"""How long requests in hand may take after a stop; with the pool's closing, under 10 s."""


def main() -> None:
    """Runs one process; exits with uvicorn's status when the port can't be had, and with 1 when a setting is
    wrong."""
    with exit_when_invalid():
        log_level = LogSettings().log_level
        settings = ApiSettings()
    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


if __name__ == "__main__":
    main()

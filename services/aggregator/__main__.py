"""`python -m services.aggregator`: one aggregator, until a signal or a fault that does not pass."""

import asyncio
import signal

import uvloop

from services.aggregator.app import run
from shared import logs
from shared.settings import AggregatorSettings, exit_when_invalid


async def main(settings: AggregatorSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure()
        read = AggregatorSettings()
    uvloop.run(main(read))

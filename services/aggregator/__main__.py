"""`python -m services.aggregator`: one aggregator, until a signal or a fault that does not pass."""

import asyncio
import signal

import uvloop

from services.aggregator.app import run
from shared import logs
from shared.settings import AggregatorSettings


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(AggregatorSettings(), stop)


if __name__ == "__main__":
    logs.configure()
    uvloop.run(main())

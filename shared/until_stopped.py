"""The life of a service's process, until an operator stops it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable


async def until_stopped(work: Callable[[asyncio.Event], Awaitable[None]], seconds: float) -> None:
    """Runs `work` with an event that SIGTERM and SIGINT set. `work` then has `seconds` to end, for a server
    that does not answer, before it is cancelled. Raises what `work` raises."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    try:
        async with asyncio.timeout(None) as patience:

            def end() -> None:
                if not stop.is_set():
                    stop.set()
                    patience.reschedule(loop.time() + seconds)

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, end)
            await work(stop)
    except TimeoutError:
        if not patience.expired():
            raise

"""Waiting for the first of several events."""

import asyncio


async def first_of(*events: asyncio.Event, seconds: float) -> None:
    """Returns when any of the events is set, or after these seconds."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()

"""Connections of a migration to the single servers of a distributed database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.database.connection import Connection, connect
from shared.database.distributed import address_of
from shared.database.faults import PASSING_TYPES, is_passing
from shared.database.loggable import loggable


class CannotDistribute(Exception):
    """The database cannot be distributed, or not be completed. The text is a sentence without its period."""


@asynccontextmanager
async def on_server(url: str) -> AsyncIterator[Connection]:
    """A connection for the block. Raises `CannotDistribute` if the server cannot be reached."""
    try:
        connection = await connect(url, application_name="callfold-migrate")
    except PASSING_TYPES as fault:
        if not is_passing(fault):
            raise
        raise CannotDistribute(
            f"Server {address_of(url)} of Citus cannot be reached: {loggable(fault)}"
        ) from None
    try:
        yield connection
    finally:
        await connection.close(timeout=5)

"""One transaction per message, with FastStream and SQLAlchemy: what one writes first.

    python faststream_sqlalchemy.py BOOTSTRAP TOPIC PORT DATABASE STATE

An offset is committed after the handler has returned (NACK_ON_ERROR), so a message may come twice. One worker
per partition handles messages. A transaction locks the call, writes it, and moves it between two counts."""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from call_state import cell, merge
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel
from sqlalchemy import MetaData, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

BOOTSTRAP, TOPIC, PORT, DATABASE, _STATE = sys.argv[1:]
PARTITIONS = 4


class Event(BaseModel):
    id: str
    type: str
    organization_id: str
    call_id: str
    timestamp: str
    livemode: bool
    data: dict[str, Any]


broker = KafkaBroker(BOOTSTRAP)
app = FastStream(broker)
engine = create_async_engine(f"postgresql+asyncpg://postgres@127.0.0.1:{PORT}/{DATABASE}")
tables = MetaData()


@app.on_startup
async def read_tables() -> None:
    """Reads the columns of the tables."""
    async with engine.connect() as connection:
        await connection.run_sync(tables.reflect)


@broker.subscriber(
    TOPIC,
    group_id="counts",
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
    max_workers=PARTITIONS,
)
async def store(event: Event) -> None:
    """Stores one event in one transaction."""
    calls = tables.tables["calls"]
    async with engine.begin() as connection:
        stored = await connection.execute(
            select(calls).where(calls.c.call_id == event.call_id).with_for_update()
        )
        row = stored.mappings().one_or_none()
        before = None if row is None else dict(row)
        after = merge(before, event.model_dump())
        if after == before:
            return
        statement = insert(calls).values(after)
        await connection.execute(statement.on_conflict_do_update(index_elements=["call_id"], set_=after))
        if before is None:
            await add(connection, cell(after), 1)
        elif cell(before) != cell(after):
            # In one order everywhere, so that two transactions never wait for each other.
            for key, calls_more in sorted([(cell(before), -1), (cell(after), 1)], key=repr):
                await add(connection, key, calls_more)


async def add(connection: AsyncConnection, key: Mapping[str, Any], calls_more: int) -> None:
    """Adds to the count of a cell."""
    counts = tables.tables["daily_counts"]
    statement = insert(counts).values(**key, calls=calls_more)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(key), set_={"calls": counts.c.calls + statement.excluded.calls}
        )
    )


if __name__ == "__main__":
    asyncio.run(app.run())

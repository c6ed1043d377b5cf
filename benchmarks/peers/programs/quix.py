"""Quix Streams: a stateful fold of calls, repartitioned by cell, and a stateful count.

    python quix.py BOOTSTRAP TOPIC PORT DATABASE STATE GUARANTEE

GUARANTEE is at-least-once, the default of Quix Streams, or exactly-once. Checkpoints are 5 s apart, the
default. Both sinks are Quix's own and write upserts at each checkpoint."""

import sys
from collections.abc import Iterator
from typing import Any

from call_state import CELL, cell, merge
from quixstreams import Application, State
from quixstreams.sinks.community.postgresql import PostgreSQLSink

BOOTSTRAP, TOPIC, PORT, DATABASE, STATE, GUARANTEE = sys.argv[1:]


def main() -> None:
    """Runs until it is stopped."""
    app = Application(
        broker_address=BOOTSTRAP,
        consumer_group=f"counts-{TOPIC}",
        auto_offset_reset="earliest",
        state_dir=STATE,
        processing_guarantee=GUARANTEE,
        loglevel="WARNING",
    )
    folded = app.dataframe(app.topic(TOPIC, key_deserializer="str")).apply(fold, stateful=True)
    folded.apply(lambda change: change["after"]).sink(sink("calls", ["call_id"]))
    moved = folded.apply(moves, expand=True).group_by(cell_name, name="cell")
    moved.apply(count, stateful=True).sink(sink("daily_counts", list(CELL)))
    app.run()


def sink(table: str, key: list[str]) -> PostgreSQLSink:
    """A sink that upserts rows of an existing table."""
    return PostgreSQLSink(
        host="127.0.0.1",
        port=int(PORT),
        dbname=DATABASE,
        user="postgres",
        password="",
        table_name=table,
        schema_auto_update=True,
        primary_key_columns=key,
        upsert_on_primary_key=True,
        include_metadata=False,
    )


def fold(event: dict[str, Any], state: State) -> dict[str, Any]:
    """The call before and after an event."""
    before = state.get("call")
    after = merge(before, event)
    state.set("call", after)
    return {"before": before, "after": after}


def moves(change: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells that lose or gain the call."""
    before = change["before"] and cell(change["before"])
    after = cell(change["after"])
    if before != after:
        yield {**after, "calls": 1}
        if before:
            yield {**before, "calls": -1}


def cell_name(move: dict[str, Any]) -> str:
    """The key of a cell's messages."""
    return "|".join(str(move[column]) for column in CELL)


def count(move: dict[str, Any], state: State) -> dict[str, Any]:
    """The row of a cell after a move."""
    calls = state.get("calls", 0) + move["calls"]
    state.set("calls", calls)
    return {**move, "calls": calls}


if __name__ == "__main__":
    main()

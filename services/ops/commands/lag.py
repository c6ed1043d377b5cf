"""`callfold lag`: how far the pipeline is behind the topic."""

import asyncio
from pathlib import Path

from services.ops.addresses import database, find_both, kafka_faults
from services.ops.pipeline_lag import Lag, measure
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.options import JsonOption, StateOption
from services.ops.terminal.printing import console, counted, print_json, table
from shared.settings.ingest import IngestSettings


def lag(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show how many records wait to be consumed, per partition, and how many deltas wait to be applied.

    Waiting deltas do not make answers wrong: the API adds them to the counts that it reads.
    """
    found = asyncio.run(_find(state))
    if as_json:
        print_json(found)
        return
    rows = [(one.partition, one.committed, one.end, one.lag) for one in found.partitions]
    to = console()
    to.print(table(["partition", "committed", "end", "lag"], rows))
    to.print(f"{_waiting(found.consumer_lag, 'record')} to be consumed.")
    for one in found.sources:
        waits = "does not exist" if one.consumer_lag is None else _waiting(one.consumer_lag, "record")
        to.print(f"Topic {one.topic} of sources: {waits}.", markup=False)
    age = "" if found.oldest_delta_seconds is None else f", the oldest for {found.oldest_delta_seconds:.1f} s"
    to.print(f"{_waiting(found.deltas, 'delta')} to be applied{age}.")


def _waiting(count: int, one: str) -> str:
    return f"{counted(count, one)} {'waits' if count == 1 else 'wait'}"


async def _find(state: Path | None) -> Lag:
    database_place, kafka = find_both(state)
    settings = settings_from_environment(IngestSettings)
    async with database(database_place) as connection:
        with kafka_faults(kafka):
            return await measure(
                connection, kafka.broker, settings.topic, settings.consumer_group, settings.deliveries_topic
            )

"""Actions of operators and users during a storm: deletes, changes of a time zone, and all repairs, beside the
services."""

import asyncio
import random
from typing import Final

from tests.storm.program import callfold
from tests.storm.readers import delete
from tests.storm.schedule import Planned
from tests.storm.stage import Stage, StormBroke

DELETED_AT_ONCE: Final = 40
REPLAYED_RECORDS: Final = 3_000
TIME_ZONES: Final = (
    *("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "UTC"),
    *("Pacific/Apia", "America/St_Johns", "Africa/Casablanca"),
)


async def delete_many(stage: Stage, planned: Planned) -> None:
    """Deletes many calls through the API concurrently. Most of them are stored by then."""
    known = stage.workload.calls_in(int(stage.published * 0.8))
    chosen = random.Random(planned.chance).sample(known, min(DELETED_AT_ONCE, len(known)))
    await asyncio.gather(*(delete(stage, key) for key in chosen))


async def move_days(stage: Stage, planned: Planned) -> None:
    """Changes the time zone of an organization's days."""
    organization = stage.workload.organizations[planned.target]
    zone = random.Random(planned.chance).choice(TIME_ZONES)
    await callfold(stage, "org", "set-time-zone", str(organization.id), zone)


async def rebuild(stage: Stage, _: Planned) -> None:
    """Compares the counts with the calls, and must find no difference."""
    done = await callfold(stage, "rebuild")
    if done and done["cells"]:
        raise StormBroke(f"a rebuild found wrong counts: {done}")


async def refold(stage: Stage, planned: Planned) -> None:
    """Compares the calls with their events, and must find no difference."""
    organization = stage.workload.organizations[planned.target]
    done = await callfold(stage, "refold", "--organization", str(organization.id))
    if done and (done["repaired"] or done["unreadable"] or done["without_events"]):
        raise StormBroke(f"a refold found wrong calls: {done}")


async def replay(stage: Stage, planned: Planned) -> None:
    """Replays a span of the topic, beside ingest, which may not have read it yet."""
    begin = int(random.Random(planned.chance).random() * stage.published / 4)
    span = ("--from-offset", str(begin), "--to-offset", str(begin + REPLAYED_RECORDS))
    await callfold(stage, "replay", "--create-organizations", "--partition", str(planned.target), *span)

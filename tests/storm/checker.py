"""The checkers beside the readers: they repeat the proof, and compare answers of one snapshot with each
other."""

import asyncio
import json
import random
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from services.api.calls.list_query import CallFilters
from services.api.calls.listing import calls
from services.api.calls.pages import Page
from services.api.figures.cell_filters import Filters
from services.api.figures.intervals import Span
from services.api.figures.stats import StatsAsked, stats
from services.api.figures.trends import TrendsAsked, trends
from shared.calls.zones import UTC
from tests.storm.program import callfold
from tests.storm.stage import Stage, StormBroke, connected, passes

AGAIN_SECONDS: Final = 0.2
DIFFERENCES_SHOWN: Final = 5
TOPIC_SHOWN: Final = 2_000
TOPIC_PAUSE: Final = 4
"""The share of time that is left to the services, for each second of a proof."""


async def prove_on(stage: Stage) -> None:
    """Proves the whole database in its own snapshot, during half of the time, to leave the other half to the
    services. Raises StormBroke."""
    while True:
        began = stage.seconds
        await prove(stage)
        await asyncio.sleep(stage.seconds - began)


async def prove(stage: Stage) -> bool:
    """Whether a proof finished. A finished proof must be exact. Raises StormBroke."""
    proof = await callfold(stage, "verify")
    if proof is not None and not proof["exact"]:
        shown = "\n".join(map(str, proof["differences"][:DIFFERENCES_SHOWN]))
        raise StormBroke(f"{proof['differences_found']} differences at {proof['snapshot']}:\n{shown}")
    return proof is not None


async def prove_topic_on(stage: Stage) -> None:
    """Proves the topic of calls from time to time, beside its publishers. Raises StormBroke."""
    while True:
        began = stage.seconds
        await prove_topic(stage, "--wait", "0")
        await asyncio.sleep(TOPIC_PAUSE * (stage.seconds - began))


async def prove_topic(stage: Stage, *options: str, must_tell: bool = False) -> bool:
    """Whether a proof of the topic finished. It must find no difference. With `must_tell`, it must decide on
    each call. Raises StormBroke."""
    proof = await callfold(stage, "verify", "--topic", *options)
    if proof is not None and (proof["differences_found"] or (must_tell and not proof["equal"])):
        raise StormBroke(f"the topic differs at {proof['snapshot']}: {str(proof)[:TOPIC_SHOWN]}")
    return proof is not None


async def agree_on(stage: Stage, chance: random.Random) -> None:
    """Repeatedly reads list, stats and trends in one snapshot. Raises StormBroke."""
    while True:
        try:
            await _agree(stage, *chance.choice(list(stage.keys)))
        except Exception as error:
            if not passes(error):
                raise
            stage.checked["test connection lost"] += 1
        await asyncio.sleep(AGAIN_SECONDS)


async def _agree(stage: Stage, organization_id: UUID, livemode: bool) -> None:
    asked = Filters(organization_id, livemode)
    async with (
        connected(stage) as session,
        session.transaction(isolation="repeatable_read", readonly=True),
    ):
        connection: Any = session  # the API takes its connections from a pool
        recount, first, last = await connection.fetchrow(RECOUNT, organization_id, livemode)
        listed = await calls(connection, CallFilters(asked), Page(1), UTC)
        counted = json.loads((await stats(connection, StatsAsked(asked), UTC)).body)
        days: Any = {"data": ()}
        if recount:
            of_days = replace(asked, start_date=first, end_date=last)
            days = json.loads((await trends(connection, TrendsAsked(of_days, Span(first, last)), UTC)).body)
    totals = recount, listed["total"], counted["total"], sum(day["total"] for day in days["data"])
    if len(set(totals)) != 1:
        raise StormBroke(f"calls, list, stats and trends of {organization_id} in one snapshot: {totals}")
    stage.checked["snapshots where list, stats and trends agreed"] += 1


RECOUNT: Final = """
SELECT count(*), min(day), max(day) FROM calls WHERE organization_id = $1 AND livemode = $2
"""

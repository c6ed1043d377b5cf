"""`callfold demo --exit`: compares the results of the pipeline with what was delivered."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from services.ops.addresses import KafkaPlace, Place, database, kafka_faults
from services.ops.demo.account import (
    Quarantined,
    off_calls,
    off_stats,
    off_trends,
    quarantined,
    stored_events,
    totals_of,
)
from services.ops.demo.followers import follow_one_call
from services.ops.demo.result import Result, print_result, print_summary, result_json
from services.ops.demo.screen import Client, print_overview
from services.ops.demo.traffic import Demo, prepare, publish_backlog
from services.ops.embedded.state import State
from services.ops.pipeline_lag import consumer_lag
from services.ops.proof.proof import Proof, prove_connection
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.printing import mode, print_json
from services.ops.terminal.progress_bar import progress
from shared.database.connection import Connection
from shared.settings.ingest import IngestSettings

SECONDS_WITHOUT_PROGRESS: Final = 60
POLL_SECONDS: Final = 0.2


async def check_pipeline(stack: State, seed: int, calls: int, days: int, *, as_json: bool = False) -> None:
    """Delivers a backlog, waits until it is consumed, and prints the results. It compares the stored events,
    the attached systems' calls, the quarantined records and the API's answers with what was delivered, and
    runs the proof. Then it follows one more call. Raises Failure with every difference."""
    settings = settings_from_environment(IngestSettings)
    demo = await prepare(stack, settings.topic)
    began = time.monotonic()
    waited = await publish_backlog(demo, seed, calls, days, quiet=as_json)
    group = settings.consumer_group
    await _wait_until_consumed(stack, settings.topic, group, quiet=as_json)
    for topic in (demo.systems.proxy_topic, settings.deliveries_topic):
        await _wait_until_consumed(stack, topic, f"{group}.{topic}", quiet=as_json)
    async with database(Place(stack.database_url, stack.directory)) as connection:
        stored = await _wait_until_stored(connection, demo)
        seconds = time.monotonic() - began
        off = [
            f"{one.producer}: {phrase}"
            for one in demo.producers
            for phrase in await off_calls(connection, one)
        ]
        groups = await quarantined(connection, settings.topic, demo.producers.native)
        proof = await prove_connection(connection)
        arrivals = await follow_one_call(connection, stack, settings, demo.customers[0])
    client = Client(stack.api_url)
    try:
        off += [*await _off_api(client, demo), *_off_store(demo, stored, groups, proof)]
        off += [f"{one.follower}: {one.what}" for one in arrivals if one.milliseconds is None]
        result = Result(demo.producers, waited, seconds, groups, proof, arrivals, off)
        if as_json:
            print_json(result_json(result))
        else:
            print_summary(result)
            await print_overview(client, demo.customers, demo.producers)
            print_result(result)
    finally:
        await client.close()
    if off:
        raise Failure("The results differ from what was sent:\n" + "\n".join(f"  {phrase}" for phrase in off))


async def _wait_until_consumed(stack: State, topic: str, group: str, *, quiet: bool) -> None:
    """Returns when the group has consumed every published record. Raises Failure with the remaining records
    when there is no progress for `SECONDS_WITHOUT_PROGRESS`."""
    left: list[int] | None = None
    progressed = time.monotonic()
    with kafka_faults(KafkaPlace(stack.kafka, stack.directory)):
        partitions = await consumer_lag(stack.kafka, topic, group)
        total = sum(one.lag for one in partitions)
        with progress("Consuming records", total, quiet=quiet) as bar:
            while waiting := [one for one in partitions if one.lag]:
                if left != [one.lag for one in partitions]:
                    left, progressed = [one.lag for one in partitions], time.monotonic()
                if time.monotonic() - progressed > SECONDS_WITHOUT_PROGRESS:
                    where = ", ".join(f"{one.lag:,} of partition {one.partition}" for one in waiting)
                    raise Failure(
                        f"Ingest consumed nothing for {SECONDS_WITHOUT_PROGRESS} s. These records of {topic} "
                        f"are not consumed: {where}. See {stack.log('ingest')}."
                    )
                bar.advance(total - sum(left))
                await asyncio.sleep(POLL_SECONDS)
                partitions = await consumer_lag(stack.kafka, topic, group)


async def _wait_until_stored(connection: Connection, demo: Demo) -> int:
    """Returns the number of stored events: when each delivered one is stored, also of the deliveries that
    waited, or when there is no progress for `SECONDS_WITHOUT_PROGRESS`."""
    delivered = sum(one.events for one in demo.producers)
    organizations = [one.id for one in demo.organizations]
    stored, progressed = -1, time.monotonic()
    while time.monotonic() - progressed < SECONDS_WITHOUT_PROGRESS:
        now = await stored_events(connection, organizations)
        if now != stored:
            stored, progressed = now, time.monotonic()
        if stored >= delivered:
            break
        await asyncio.sleep(POLL_SECONDS)
    return stored


async def _off_api(client: Client, demo: Demo) -> list[str]:
    """A phrase for each answer of the API that differs from what was delivered."""
    off: list[str] = []
    together = totals_of(demo.producers)
    for one in demo.customers:
        for livemode, key in ((True, one.live_key), (False, one.test_key)):
            totals = together[one.organization.id, livemode]
            phrases = off_stats(totals, await client.stats(key))
            if totals.by_day:
                trends = await client.trends(key, min(totals.by_day), max(totals.by_day))
                phrases += off_trends(totals, trends)
            off += [f"{one.organization.name}, {mode(livemode)} calls: {phrase}" for phrase in phrases]
    return off


def _off_store(demo: Demo, stored: int, groups: Sequence[Quarantined], proof: Proof) -> list[str]:
    off: list[str] = []
    delivered = sum(one.events for one in demo.producers)
    if stored != delivered:
        off.append(f"{stored:,} events are stored, but {delivered:,} were sent")
    off += [
        f"{one.found} of {one.sent} records with the fault '{one.fault}' are quarantined"
        for one in groups
        if one.sent != one.found
    ]
    if not proof.exact:
        off.append(f"the proof found {proof.differences_found:,} differences")
    return off

"""`callfold demo --exit`: compares the results of the pipeline with the published calls."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from services.ops.addresses import KafkaPlace, Place, database, kafka_faults
from services.ops.commands.lag import consumer_lag
from services.ops.commands.verify import print_proof
from services.ops.demo.account import Account, Quarantined, off_stats, off_trends, quarantined, stored_events
from services.ops.demo.screen import Client, Customer, print_overview
from services.ops.demo.traffic import make_customers, publish_backlog
from services.ops.embedded.state import State
from services.ops.proof.proof import Proof, prove_connection
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.printing import console, mode, table
from services.ops.terminal.progress_bar import progress
from shared.settings.ingest import IngestSettings

SECONDS_WITHOUT_PROGRESS: Final = 60
POLL_SECONDS: Final = 0.2


async def check_pipeline(stack: State, seed: int, calls: int, days: int) -> None:
    """Publishes a backlog, waits until it is consumed, and prints the results. It compares the stored events,
    the quarantined records and the API's answers with what was sent, and runs the proof. Raises Failure with
    every difference."""
    settings = settings_from_environment(IngestSettings)
    customers = await make_customers(stack)
    began = time.monotonic()
    account = await publish_backlog(stack, settings.topic, customers, seed, calls, days)
    await _wait_until_consumed(stack, settings.topic, settings.consumer_group)
    to = console()
    to.print(
        f"{account.calls:,} calls ({account.test_calls:,} of them test calls) in {account.records:,} records "
        f"published and consumed in "
        f"{time.monotonic() - began:.1f} s: {account.events:,} events, {account.duplicates:,} duplicates, "
        f"{len(account.broken):,} broken records.\n"
    )
    off = await _check_api(stack.api_url, customers, account)
    async with database(Place(stack.database_url, stack.directory)) as connection:
        stored = await stored_events(connection, [one.organization.id for one in customers])
        groups = await quarantined(connection, settings.topic, account)
        proof = await prove_connection(connection)
    off += _check_store(account, stored, groups, proof)
    rows = [(one.fault, one.reason, one.sent, one.found) for one in groups]
    to.print(table(["fault", "reason", "sent", "quarantined"], rows, title="\nQuarantine"))
    to.print()
    print_proof(proof, ", all of this state directory")
    if off:
        raise Failure("The results differ from what was sent:\n" + "\n".join(f"  {phrase}" for phrase in off))
    to.print("The API's stats and trends equal what was sent.", style="bold green")


async def _wait_until_consumed(stack: State, topic: str, group: str) -> None:
    """Returns when the group has consumed every published record. Raises Failure with the remaining records
    when there is no progress for `SECONDS_WITHOUT_PROGRESS`."""
    left: list[int] | None = None
    progressed = time.monotonic()
    with kafka_faults(KafkaPlace(stack.kafka, stack.directory)):
        partitions = await consumer_lag(stack.kafka, topic, group)
        total = sum(one.lag for one in partitions)
        with progress("Consuming records", total) as bar:
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


async def _check_api(api_url: str, customers: Sequence[Customer], account: Account) -> list[str]:
    """Prints the API's answers, and returns a phrase for each that differs from what was sent."""
    off: list[str] = []
    client = Client(api_url)
    try:
        await print_overview(client, customers)
        for one in customers:
            for livemode, key in ((True, one.live_key), (False, one.test_key)):
                totals = account.totals[one.organization.id, livemode]
                phrases = off_stats(totals, await client.stats(key))
                if totals.by_day:
                    trends = await client.trends(key, min(totals.by_day), max(totals.by_day))
                    phrases += off_trends(totals, trends)
                off += [f"{one.organization.name}, {mode(livemode)} calls: {phrase}" for phrase in phrases]
    finally:
        await client.close()
    return off


def _check_store(account: Account, stored: int, groups: Sequence[Quarantined], proof: Proof) -> list[str]:
    off: list[str] = []
    if stored != account.events:
        off.append(f"{stored:,} events are stored, but {account.events:,} were sent")
    off += [
        f"{one.found} of {one.sent} records with the fault '{one.fault}' are quarantined"
        for one in groups
        if one.sent != one.found
    ]
    if not proof.exact:
        off.append(f"the proof found {proof.differences_found:,} differences")
    return off

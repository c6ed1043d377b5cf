"""The demo's traffic: new organizations, their backlog, and live calls afterwards."""

import asyncio
import random
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from aiokafka.errors import KafkaError

from services.ops.addresses import KafkaPlace, Place, database, kafka_faults
from services.ops.commands.key import create_key
from services.ops.commands.org import create_organization
from services.ops.demo.account import Account
from services.ops.demo.screen import Customer
from services.ops.demo.simulator import Record, backlog, live, organizations, publish, publish_live
from services.ops.embedded.state import State
from services.ops.terminal.progress_bar import progress

CALLS_PER_SECOND: Final = 4
RETRY_SECONDS: Final = 1


async def make_customers(stack: State) -> list[Customer]:
    """Creates organizations with new ids, each with a live and a test key. Raises Failure."""
    customers: list[Customer] = []
    async with database(Place(stack.database_url, stack.directory)) as connection:
        for one in organizations(random.Random(secrets.randbits(64))):  # noqa: S311
            await create_organization(connection, one.id, one.name, one.time_zone)
            live_key = await create_key(connection, one.id, "demo", livemode=True)
            test_key = await create_key(connection, one.id, "demo", livemode=False)
            customers.append(Customer(one, str(live_key["key"]), str(test_key["key"])))
    return customers


async def publish_backlog(
    stack: State, topic: str, customers: Sequence[Customer], seed: int, calls: int, days: int
) -> Account:
    """Publishes the backlog up to now. Returns the account of it. Raises Failure."""
    account = Account()
    records = backlog(seed, [one.organization for one in customers], calls, datetime.now(UTC), days)
    with (
        progress("Publishing calls", calls) as bar,
        kafka_faults(KafkaPlace(stack.kafka, stack.directory)),
    ):

        def delivered(record: Record, partition: int, offset: int) -> None:
            account.delivered(record, partition, offset)
            bar.advance(account.calls)

        await publish(stack.kafka, topic, records, delivered)
    return account


async def publish_live_traffic(stack: State, topic: str, customers: Sequence[Customer], seed: int) -> None:
    """Publishes a few calls per second until it is cancelled. Retries when the broker is unreachable."""
    while True:
        begin = datetime.now(UTC) + timedelta(milliseconds=100)
        calls = live(seed, [one.organization for one in customers], begin, CALLS_PER_SECOND)
        try:
            await publish_live(stack.kafka, topic, calls, lambda: datetime.now(UTC))
        except KafkaError:
            await asyncio.sleep(RETRY_SECONDS)
        seed += 1

"""The demo's traffic: new organizations, the backlogs of three producers, and live calls afterwards."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError

from services.ops.addresses import KafkaPlace, Place, database, kafka_faults
from services.ops.commands.key import create_key
from services.ops.commands.org import create_organization
from services.ops.demo.account import Account
from services.ops.demo.attached_systems import AttachedSystems, attach_systems
from services.ops.demo.posting import post, post_live, vendors_client
from services.ops.demo.screen import Customer
from services.ops.demo.simulated_call import Organization
from services.ops.demo.simulated_proxy import names_organization, simulate_proxy_call
from services.ops.demo.simulator import (
    Record,
    backlog,
    live,
    organizations,
    publish,
    publish_live,
    system_backlog,
    system_live,
)
from services.ops.embedded.state import State
from services.ops.terminal.failure import Failure
from services.ops.terminal.progress_bar import progress
from services.ops.terminal.waiting import attempts
from shared.calls.event import call_uuid

CALLS_PER_SECOND: Final = 4
SYSTEM_CALLS_PER_SECOND: Final = 0.5
PROXY_SHARE: Final = 10
PROXY_CALLS_MAX: Final = 500
VENDOR_SHARE: Final = 20
VENDOR_CALLS_MAX: Final = 100
"""The proxy has a tenth of the calls of the backlog, and the vendor a twentieth, up to these numbers: one
request of the vendor takes as long as a hundred records."""
RETRY_SECONDS: Final = 1
SECONDS_UNTIL_KNOWN: Final = 60


class Producers(NamedTuple):
    """The accounts of the three producers."""

    native: Account
    proxy: Account
    vendor: Account


@dataclass(frozen=True)
class Demo:
    """One run: its stack, its organizations, the attached systems, and what each producer delivered."""

    stack: State
    topic: str
    customers: Sequence[Customer]
    systems: AttachedSystems
    producers: Producers

    @property
    def organizations(self) -> list[Organization]:
        """The organizations without their keys."""
        return [one.organization for one in self.customers]


async def prepare(stack: State, topic: str) -> Demo:
    """Creates organizations with new ids, each with a live and a test key, and attaches the two systems.
    Raises Failure."""
    customers: list[Customer] = []
    async with database(Place(stack.database_url, stack.directory)) as connection:
        for one in organizations(random.Random(secrets.randbits(64))):  # noqa: S311
            await create_organization(connection, one.id, one.name, one.time_zone)
            live_key = await create_key(connection, one.id, "demo", livemode=True)
            test_key = await create_key(connection, one.id, "demo", livemode=False)
            customers.append(Customer(one, str(live_key["key"]), str(test_key["key"])))
        with kafka_faults(KafkaPlace(stack.kafka, stack.directory)):
            systems = await attach_systems(connection, stack, [one.organization for one in customers])
    producers = Producers(
        Account("native producer"),
        Account("SIP proxy (Kamailio)", keeps_outcomes=True),
        Account("vendor's webhooks (Twilio)", keeps_outcomes=True),
    )
    return Demo(stack, topic, customers, systems, producers)


async def publish_backlog(demo: Demo, seed: int, calls: int, days: int, *, quiet: bool = False) -> int:
    """Publishes and posts the backlogs up to now. Returns how many of the proxy's reports had to wait for
    another one to name their organization. Raises Failure."""
    now, stack, systems, to = datetime.now(UTC), demo.stack, demo.systems, demo.producers
    of_proxy = min(calls // PROXY_SHARE, PROXY_CALLS_MAX)
    of_vendor = min(calls // VENDOR_SHARE, VENDOR_CALLS_MAX)
    records = backlog(seed, demo.organizations, calls - of_proxy - of_vendor, now, days)
    reports = list(system_backlog(simulate_proxy_call, seed, demo.organizations, of_proxy, now, days))
    simulate_vendor_call = systems.simulated_vendor.simulate_call
    requests = system_backlog(simulate_vendor_call, seed, demo.organizations, of_vendor, now, days)
    first, later = first_reports(reports)
    with (
        progress("Delivering calls", calls, quiet=quiet) as bar,
        kafka_faults(KafkaPlace(stack.kafka, stack.directory)),
    ):

        def published(account: Account, record: Record, partition: int, offset: int) -> None:
            account.delivered(record, partition, offset)
            bar.advance(sum(one.calls for one in to))

        def accepted(record: Record) -> None:
            to.vendor.accepted(record)
            bar.advance(sum(one.calls for one in to))

        async def deliver_of_systems() -> int:
            await publish(stack.kafka, systems.proxy_topic, first, partial(published, to.proxy))
            waited = await _wait_until_known(demo, first)
            await publish(stack.kafka, systems.proxy_topic, later, partial(published, to.proxy))
            async with vendors_client() as client:
                await post(client, systems.hook_url, requests, accepted)
            return waited

        waited, _ = await asyncio.gather(
            deliver_of_systems(), publish(stack.kafka, demo.topic, records, partial(published, to.native))
        )
    return waited


def first_reports(reports: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """The proxy's reports that come before all others, and the others. First come those of one call, and of
    other calls those that do not name the organization."""
    first: list[Record] = []
    later: list[Record] = []
    for one in reports:
        is_first = (one.key == reports[0].key) is _names_organization(one)
        (first if is_first else later).append(one)
    return first, later


async def publish_live_traffic(demo: Demo, seed: int) -> None:
    """Publishes and posts a few calls per second until it is cancelled. Retries when the broker or the
    receiver is unreachable."""
    stack, systems, to, customers = demo.stack, demo.systems, demo.producers, demo.organizations

    async def native(seed: int, begin: datetime) -> None:
        records = live(seed, customers, begin, CALLS_PER_SECOND)
        await publish_live(stack.kafka, demo.topic, records, _now, to.native.delivered)

    async def proxy(seed: int, begin: datetime) -> None:
        records = system_live(simulate_proxy_call, seed, customers, begin, SYSTEM_CALLS_PER_SECOND)
        await publish_live(stack.kafka, systems.proxy_topic, records, _now, to.proxy.delivered)

    async def vendor(seed: int, begin: datetime) -> None:
        simulate = systems.simulated_vendor.simulate_call
        requests = system_live(simulate, seed, customers, begin, SYSTEM_CALLS_PER_SECOND)
        async with vendors_client() as client:
            await post_live(client, systems.hook_url, requests, _now, to.vendor.accepted)

    await asyncio.gather(*(_repeat(deliver, seed) for deliver in (native, proxy, vendor)))


async def _repeat(deliver: Callable[[int, datetime], Awaitable[None]], seed: int) -> None:
    """Delivers live traffic, and again with another seed after a fault of Kafka."""
    while True:
        try:
            await deliver(seed, _now() + timedelta(milliseconds=100))
        except KafkaError:
            await asyncio.sleep(RETRY_SECONDS)
        seed += 1


async def _wait_until_known(demo: Demo, first: Sequence[Record]) -> int:
    """Returns when ingest knows the proxy's source and its organizations: when the call among its first
    reports is stored, and the other ones wait. Returns how many wait. Raises Failure."""
    waiting = [_call_id(one) for one in first if not _names_organization(one)]
    for begin in first:
        if begin.outcome is None:
            continue
        organization_id = begin.outcome.organization_id
        call = organization_id, call_uuid(organization_id, _call_id(begin))
        async with database(Place(demo.stack.database_url, demo.stack.directory)) as connection:
            for pause in attempts(SECONDS_UNTIL_KNOWN):
                if await connection.fetchval(_IS_KNOWN, *call, demo.systems.proxy.id, waiting, len(waiting)):
                    break
                await asyncio.sleep(pause)
            else:
                raise Failure(
                    f"Ingest did not store the first call of the topic {demo.systems.proxy_topic} within "
                    f"{SECONDS_UNTIL_KNOWN} s. See {demo.stack.log('ingest')}."
                )
    return len(waiting)


def _call_id(report: Record) -> str:
    return (report.key or b"").decode()


def _names_organization(report: Record) -> bool:
    return report.value is not None and names_organization(report.value)


def _now() -> datetime:
    return datetime.now(UTC)


_IS_KNOWN: Final = """
SELECT EXISTS (SELECT FROM calls WHERE organization_id = $1 AND id = $2) AND $5 <= (
    SELECT count(*) FROM quarantined_records WHERE source_id = $3 AND waits_for = ANY($4::text[])
)
"""

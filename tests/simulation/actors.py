"""The actors: ingest and aggregator as in their services, and the actions of users, operators and chores.

A new deed is a frozen dataclass with `do`, and its strategy in tests/simulation/test_simulation.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
from aiokafka import ConsumerRecord as Record

from services.aggregator.prune import Counts, prune
from services.aggregator.quarantine_erasure import prune_quarantined
from services.aggregator.reap import EVERYTHING, reap
from services.ingest.arrivals import sort_out
from services.ingest.lane import SESSION
from services.ops.repair.rebuild import rebuild_organization
from services.ops.repair.redrive import redrive
from services.ops.repair.refold import refold_calls
from shared.database.connection import Connection
from shared.database.faults import PASSING_TYPES, is_passing
from shared.store.batch import Overtaken
from shared.store.delete import delete
from shared.store.time_zone_change import move_days
from tests.simulation.schedule import Actor, Body, Role
from tests.simulation.topic import NOW, Member
from tests.simulation.watcher import Watcher
from tests.support.applying import apply_deltas
from tests.support.events import value
from tests.support.storing import store

ORGANIZATIONS: Final = (UUID(int=0xA), UUID(int=0xB))
CALLS: Final = tuple(
    (ORGANIZATIONS[n], UUID(int=id)) for n, id in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2))
)
DATA: Final[Mapping[str, Mapping[str, Any]]] = {
    "call.initiated": {"direction": "inbound"},
    "call.answered": {"latency_ms": 7},
    "call.completed": {"duration": 60, "cost": "0.5"},
}
NO_TYPE: Final = "call.paused"
TIME_ZONES: Final = ("Asia/Kolkata", "America/New_York", "UTC")
DELTAS: Final = 3

INGEST: Final = Role("ingest", {**SESSION, "synchronous_commit": "off"})
AGGREGATOR: Final = Role("aggregator", {"lock_timeout": "10s"})
OPERATOR: Final = Role("operator", {})
TIME_TO_POLL: Final = "poll"
TIME_TO_WAIT: Final = "wait for deltas"
TIME_TO_DELETE: Final = "choose a call to delete"
RESTS: Final = (TIME_TO_POLL, TIME_TO_WAIT, TIME_TO_DELETE)
"""The points at which an actor may wait forever."""


@dataclass(frozen=True)
class Said:
    """A record that a telephony system publishes, with an event of the `call`-th call. Two with one id may
    differ. One of `NO_TYPE` is bad."""

    partition: int
    call: int
    id: int
    type: str
    minute: int
    livemode: bool = True

    @property
    def value(self) -> bytes:
        organization_id, call_id = CALLS[self.call]
        return value(
            self.type,
            id=str(self.id),
            organization_id=organization_id,
            call_id=call_id,
            timestamp=NOW - timedelta(hours=13) + timedelta(minutes=self.minute),
            livemode=self.livemode,
            **DATA.get(self.type, {}),
        )


def ingest(member: Member, batch_records: int) -> Body:
    """Polls, stores, and then commits the offsets, as `services.ingest.app` and its writer do."""

    async def run(actor: Actor) -> None:
        while True:
            await actor.permit(TIME_TO_POLL)
            records = member.poll(batch_records)
            if records:
                await _store(actor, records)
                await actor.permit("commit offsets")
                member.commit(records)

    return run


async def _store(actor: Actor, records: Sequence[Record[Any, Any]]) -> None:
    arrivals, bad_records = await sort_out(records, NOW)
    while True:
        try:
            await store(await actor.connect(INGEST), arrivals, bad_records, now=NOW)
        except Overtaken:
            continue
        except PASSING_TYPES as fault:
            _hang_up(actor, fault)
        else:
            return


def _hang_up(actor: Actor, fault: Exception) -> None:
    if not is_passing(fault):
        raise fault
    if actor.connection is not None:
        actor.connection.terminate()


async def aggregate(actor: Actor) -> None:
    """Applies deltas, a few at a time."""
    while True:
        try:
            if not await apply_deltas(await actor.connect(AGGREGATOR), DELTAS):
                await actor.permit(TIME_TO_WAIT)
        except PASSING_TYPES as fault:
            _hang_up(actor, fault)


def deleting(watcher: Watcher) -> Body:
    """A user who deletes the newest call, and then the one before it, while other actors store them."""

    async def run(actor: Actor) -> None:
        while True:
            await actor.permit(TIME_TO_DELETE)
            if watcher.calls:
                await _try(actor, DeleteCall(*watcher.calls[-1]))

    return run


class Deed(Protocol):
    """An action that runs once. It is not retried when it crashes or its connection breaks."""

    async def do(self, connection: Connection) -> None: ...


def doing(deed: Deed) -> Body:
    """An operator who performs one action."""
    return lambda actor: _try(actor, deed)


async def _try(actor: Actor, deed: Deed) -> None:
    """Retries a transaction that conflicts with others, as the API and operators do. After a broken
    connection, the outcome is unknown."""
    while True:
        try:
            return await deed.do(await actor.connect(OPERATOR))
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            continue
        except PASSING_TYPES as fault:
            return _hang_up(actor, fault)


@dataclass(frozen=True)
class DeleteCall:
    organization_id: UUID
    call_id: UUID

    async def do(self, connection: Connection) -> None:
        for livemode in (True, False):
            whose = self.organization_id, self.call_id
            if await delete(connection, *whose, livemode=livemode, actor="simulation"):
                return


@dataclass(frozen=True)
class Rebuild:
    """Must find nothing to repair, in any interleaving."""

    organization: int

    async def do(self, connection: Connection) -> None:
        owner = ORGANIZATIONS[self.organization]
        assert await rebuild_organization(connection, owner, actor="simulation") == 0


@dataclass(frozen=True)
class Refold:
    """Must find nothing to repair and no call without events, in any interleaving."""

    async def do(self, connection: Connection) -> None:
        await refold_calls(connection, CALLS)


@dataclass(frozen=True)
class MoveDays:
    organization: int
    time_zone: str

    async def do(self, connection: Connection) -> None:
        try:
            async with connection.transaction():
                await move_days(connection, ORGANIZATIONS[self.organization], self.time_zone)
        except LookupError:  # no event of the organization has arrived yet
            return


@dataclass(frozen=True)
class Reap:
    async def do(self, connection: Connection) -> None:
        await reap(connection, NOW, timedelta(hours=1), read_until=EVERYTHING)


@dataclass(frozen=True)
class Prune:
    """Sets the retention, from now on."""

    organization: int
    counts: Counts = "keep"

    async def do(self, connection: Connection) -> None:
        owner = ORGANIZATIONS[self.organization]
        await connection.execute("UPDATE organizations SET retention_days = 1 WHERE id = $1", owner)
        await prune(connection, NOW, counts=self.counts, organization_id=owner)
        await prune_quarantined(connection, NOW, organization_id=owner)


@dataclass(frozen=True)
class KeepForever:
    organization: int

    async def do(self, connection: Connection) -> None:
        owner = ORGANIZATIONS[self.organization]
        await connection.execute("UPDATE organizations SET retention_days = NULL WHERE id = $1", owner)


@dataclass(frozen=True)
class Redrive:
    """Accepts no record: bad records stay bad, and records that were too old were stored without content."""

    async def do(self, connection: Connection) -> None:
        rows = await connection.fetch("SELECT id FROM quarantined_records ORDER BY id")
        if rows:
            await redrive(connection, [row["id"] for row in rows], NOW)

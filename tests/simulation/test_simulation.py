"""In every interleaving, wherever an actor dies, every count is exact at every commit.

Hypothesis chooses who goes how many steps, who dies where, and what is published, deleted and repaired
meanwhile; callfold's own code runs against a real PostgreSQL. A failing choice is shrunk to the shortest, and
printed as a program with the statements between. `--simulation-examples N` tries more than an ordinary run.
"""

from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Final, get_args
from uuid import UUID

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from services.aggregator.prune import Counts
from shared.database.connection import Connection
from tests.simulation.actors import (
    CALLS,
    DATA,
    NO_TYPE,
    ORGANIZATIONS,
    RESTS,
    TIME_ZONES,
    Deed,
    KeepForever,
    MoveDays,
    Prune,
    Reap,
    Rebuild,
    Redrive,
    Refold,
    Said,
    aggregate,
    deleting,
    doing,
    ingest,
)
from tests.simulation.schedule import Actor, Schedule
from tests.simulation.topic import PARTITIONS, Group, Member, Topic
from tests.simulation.watcher import Watcher

pytestmark = [
    pytest.mark.long,
    pytest.mark.one_postgres("its actors ask for generic plans, as ingest does on one PostgreSQL"),
]

INGESTS: Final = ("ingest 1", "ingest 2")
AGGREGATORS: Final = ("aggregator 1", "aggregator 2")
USERS: Final = ("user",)
SERVICES: Final = INGESTS + AGGREGATORS + USERS
OPERATORS: Final = ("operator 1", "operator 2")
STEPS_OF_A_TURN_MAX: Final = 60
"""Enough steps for a batch or an action. A turn also ends when the actor is idle."""
STEPS_TO_REST_MAX: Final = 2_000

_anyone = st.sampled_from(INGESTS * 2 + AGGREGATORS + OPERATORS + USERS)
_owners = st.tuples(*[st.sampled_from(INGESTS)] * PARTITIONS)
_records = st.builds(
    Said,
    partition=st.integers(0, PARTITIONS - 1),
    call=st.sampled_from(range(len(CALLS))),
    id=st.integers(1, 4),
    type=st.sampled_from([*DATA, "call.failed", "call.updated", NO_TYPE]),
    minute=st.sampled_from([0, 1, 90, -3 * 24 * 60]),
    livemode=st.sampled_from([True, True, True, False]),
)
_published = st.lists(_records, min_size=1, max_size=8)
_repairs: st.SearchStrategy[Deed] = st.sampled_from(
    [
        *[MoveDays(n, zone) for n in range(len(ORGANIZATIONS)) for zone in TIME_ZONES],
        *[Prune(n, counts) for n in range(len(ORGANIZATIONS)) for counts in get_args(Counts)],
        *[KeepForever(n) for n in range(len(ORGANIZATIONS))],
        *[Rebuild(n) for n in range(len(ORGANIZATIONS))],
        *[Refold(), Reap(), Redrive()] * 2,
    ]
)
_steps = st.one_of(st.integers(0, 12), st.just(STEPS_OF_A_TURN_MAX))
_turns = st.lists(st.tuples(_anyone, _steps), min_size=1, max_size=10)


class Laboratory:
    """The resources that all runs share: an event loop, a database, and connections to it."""

    def __init__(self, database_url: str) -> None:
        self._loop = uvloop.new_event_loop()  # faster than asyncio's: more runs in the same time
        self.observer: Connection = self.run(asyncpg.connect(database_url))
        self.schedule = Schedule(database_url, self.observer)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine on the loop. Between two calls, no actor runs."""
        return self._loop.run_until_complete(coroutine)

    async def clean(self) -> None:
        """Empties the tables."""
        await self.observer.execute(_EMPTY)

    def close(self) -> None:
        self.run(self.schedule.close())
        self.run(self.observer.close())
        self._loop.close()


_MAKE_ORGANIZATION: Final = "INSERT INTO organizations (id, name) VALUES ($1, 'Acme')"

_EMPTY: Final = ";".join(
    f"DELETE FROM {table}"  # noqa: S608
    for table in (
        "audit_log",
        "call_events",
        "calls",
        "daily_call_counts",
        "daily_call_deltas",
        "daily_call_totals",
        "deleted_calls",
        "organizations",
        "pruned_call_counts",
        "quarantined_records",
    )
)


class Simulation(RuleBasedStateMachine):
    """Two actors of each kind, over one topic and one database."""

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__()
        self._laboratory = laboratory
        self._schedule = laboratory.schedule
        self._group = Group(Topic())
        self._watcher = Watcher(laboratory.observer, self._group)
        self._members: dict[str, Member] = {}
        self._actors: dict[str, Actor] = {}
        self._batch_records = 0
        self._failed = False

    @initialize(
        organizations=st.lists(st.sampled_from(ORGANIZATIONS), unique=True),
        batch_records=st.integers(1, 4),
        owners=_owners,
        records=_published,
    )
    def start(
        self,
        organizations: Sequence[UUID],
        batch_records: int,
        owners: Sequence[str],
        records: Sequence[Said],
    ) -> None:
        """Sets which organizations an operator created before their first event, and how many records a poll
        returns."""
        self._batch_records = batch_records
        self._do(self._set_up(organizations))
        self._group.rebalance(owners)
        self.publish(records)

    @rule(records=_published)
    def publish(self, records: Sequence[Said]) -> None:
        for record in records:
            self._group.topic.publish(record.partition, record.value)

    @rule(turns=_turns)
    def go(self, turns: Sequence[tuple[str, int]]) -> None:
        """Runs N steps of each of them, or fewer if it becomes idle."""
        self._do(self._go(turns))

    @rule(deed=_repairs, steps=_steps, turns=_turns)
    def repair(self, deed: Deed, steps: int, turns: Sequence[tuple[str, int]]) -> None:
        """Makes an idle operator start this action and run some steps, then lets others run."""
        self._do(self._begin(deed, steps))
        self._do(self._go(turns))

    @rule(owners=_owners, zombies=st.booleans(), turns=_turns)
    def rebalance(self, owners: Sequence[str], zombies: bool, turns: Sequence[tuple[str, int]]) -> None:
        """Assigns the partitions to other members. Zombies notice only when they poll again."""
        self._group.rebalance(owners)
        if not zombies:
            for member in self._members.values():
                member.rejoin()
        self._do(self._go(turns))

    @rule(name=_anyone, fault=st.sampled_from(["crash", "cut", "lose the answer"]), turns=_turns)
    def fail(self, name: str, fault: str, turns: Sequence[tuple[str, int]]) -> None:
        """Kills a process, and the service restarts from durable state. Or breaks a connection: now, or after
        the next request is executed and before its response arrives."""
        self._do(self._fail(name, fault))
        self._do(self._go(turns))

    def teardown(self) -> None:
        try:
            if not self._failed:
                self._do(self._come_to_rest())
        finally:
            self._laboratory.run(self._schedule.clear(at_rest=not self._failed))

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            self._laboratory.run(coroutine)
        except BaseException:
            self._failed = True
            raise

    async def _set_up(self, organizations: Sequence[UUID]) -> None:
        await self._laboratory.clean()
        await self._laboratory.observer.executemany(_MAKE_ORGANIZATION, [(one,) for one in organizations])
        for name in SERVICES:
            await self._start(name)

    async def _start(self, name: str) -> None:
        if name in INGESTS:
            self._members[name] = Member(self._group, name)
            body = ingest(self._members[name], self._batch_records)
        elif name in AGGREGATORS:
            body = aggregate
        else:
            body = deleting(self._watcher)
        self._actors[name] = await self._schedule.begin(name, body)

    async def _begin(self, deed: Deed, steps: int) -> None:
        name = next((name for name in OPERATORS if self._is_over(name)), None)
        if name is not None:
            self._actors[name] = await self._schedule.begin(name, doing(deed))
            await self._go([(name, steps)])

    async def _go(self, turns: Sequence[tuple[str, int]]) -> None:
        for name, steps in turns:
            for _ in range(steps):
                if self._is_over(name) or not self._actors[name].ready:
                    break
                await self._step(name)
                if self._actors[name].at in RESTS:
                    break

    async def _step(self, name: str) -> None:
        actor = self._actors[name]
        note(f"    {name}: {actor.at}")
        await self._schedule.step(actor)
        await self._look()

    async def _fail(self, name: str, fault: str) -> None:
        if self._is_over(name):
            return
        actor = self._actors[name]
        if fault == "lose the answer":
            actor.loses_answer = True
        elif fault == "cut":
            await self._schedule.cut(actor)
        else:
            await self._schedule.crash(actor)
            if name in SERVICES:
                self._group.rebalance(self._group.owners)
                await self._start(name)
        await self._look()

    async def _look(self) -> None:
        if self._schedule.has_committed:
            self._schedule.has_committed = False
            await self._watcher.look()
        self._watcher.look_at_offsets()

    async def _come_to_rest(self) -> None:
        """Without further faults, every started action finishes, and every published record is read."""
        before = self._schedule.steps
        while work := [name for name in self._actors if await self._has_work(name)]:
            for name in work:
                for _ in range(STEPS_OF_A_TURN_MAX):
                    if not self._actors[name].ready or not await self._has_work(name):
                        break
                    await self._step(name)
            assert self._schedule.steps - before < STEPS_TO_REST_MAX, f"do not come to rest: {work}"
        await self._watcher.look_back()

    async def _has_work(self, name: str) -> bool:
        if self._is_over(name):
            return False
        if self._actors[name].at not in RESTS:
            return True
        if name in INGESTS:
            return self._members[name].has_more
        return name in AGGREGATORS and await self._watcher.sees_deltas()

    def _is_over(self, name: str) -> bool:
        return name not in self._actors or self._actors[name].over


@pytest.fixture
def laboratory(database_url: str) -> Iterator[Laboratory]:
    made = Laboratory(database_url)
    yield made
    made.close()


def test_every_interleaving_leaves_exact_counts(laboratory: Laboratory, pytestconfig: pytest.Config) -> None:
    run_state_machine_as_test(
        partial(Simulation, laboratory),  # type: ignore[arg-type]  # the docstring allows any factory
        settings=settings(
            max_examples=pytestconfig.getoption("simulation_examples"),
            stateful_step_count=15,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )

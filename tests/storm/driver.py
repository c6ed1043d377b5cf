"""One storm from start to end: faults by the schedule, while records are published and read."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.storm.arrival import hurry_on, stop_writers, until_arrived
from tests.storm.changes_ending import check_changes
from tests.storm.checker import agree_on, prove_on, prove_topic_on
from tests.storm.ending import check_end, until_quiet
from tests.storm.faults import happen
from tests.storm.followers import follow_on
from tests.storm.publisher import publish
from tests.storm.readers import READERS, delete_on, read_on
from tests.storm.schedule import Planned
from tests.storm.stage import Grounds, Stage, StormBroke, stage
from tests.storm.workload import make

LONGEST_SECONDS: Final = 400
HAPPENINGS_SHOWN: Final = 12


@dataclass(frozen=True)
class Summary:
    """The summary of a storm: its faults, and how often each check ran."""

    seed: int
    brokers: int
    seconds: float
    calls: int
    records: int
    published_again: int
    faults: Counter[str]
    checked: Counter[str]
    starts: int

    def __str__(self) -> str:
        faults = ", ".join(f"{count} x {name}" for name, count in sorted(self.faults.items()))
        checked = "\n    ".join(f"{count:,} {what}" for what, count in sorted(self.checked.items()))
        return (
            f"seed {self.seed}, brokers: {self.brokers}; {self.faults.total()} faults in {self.seconds:.0f} s"
            f" over {self.records:,} records of {self.calls:,} calls ({self.published_again:,} published "
            f"again), {self.starts} starts of services\n  faults: {faults}\n  checked:\n    {checked}"
        )


async def storm(
    seed: int, planned: Sequence[Planned], on: Grounds, *, calls: int, seconds: float, logs: Path
) -> Summary:
    """Runs a storm of these faults on the grounds, while this many calls are published in about this many
    seconds. Raises StormBroke with the failure, its time, the latest faults, and the directory of the
    logs."""
    workload = await asyncio.to_thread(make, seed, calls, datetime.now(UTC))
    async with stage(on, workload, seed, logs) as made:
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                return await _rage(made, seed, planned, seconds)
        except BaseException as fault:
            raise StormBroke(_report(seed, made, fault)) from fault


async def _rage(on: Stage, seed: int, planned: Sequence[Planned], seconds: float) -> Summary:
    chance = random.Random(seed)
    watching: list[Coroutine[Any, Any, None]] = [
        prove_on(on),
        prove_topic_on(on),
        hurry_on(on, random.Random(chance.random())),
        agree_on(on, random.Random(chance.random())),
        delete_on(on, random.Random(chance.random())),
        *(read_on(on, random.Random(chance.random())) for _ in range(READERS)),
    ]
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(one) for one in watching]
        followers = [
            group.create_task(follow_on(on, one, random.Random(chance.random()))) for one in on.followed
        ]
        publishing = group.create_task(publish(on, seconds))
        faults = [group.create_task(_happen(on, one)) for one in planned]
        await asyncio.wait([publishing, *faults])
        on.note("all records are published, and all faults are over")
        await until_quiet(on)
        on.note("all records are stored")
        for watcher in watchers:
            watcher.cancel()
        await stop_writers(on)
        await until_arrived(on)
        on.note("all changes have arrived")
        for follower in followers:
            follower.cancel()
    acknowledged = publishing.result()
    await check_end(on, acknowledged)
    await check_changes(on)
    for name, service in on.services.items():
        await service.stop()
        if service.ends_by_itself:
            raise StormBroke(f"{name} exited {service.ends_by_itself} times unexpectedly: {service.log}")
    return Summary(
        seed,
        len(on.grounds.brokers),
        on.seconds,
        len(on.workload.events),
        acknowledged.records,
        acknowledged.published_again,
        Counter(one.kind for one in planned),
        on.checked,
        sum(service.starts for service in on.services.values()),
    )


async def _happen(on: Stage, planned: Planned) -> None:
    await asyncio.sleep(planned.at_seconds - on.seconds)
    await happen(on, planned)


def _report(seed: int, on: Stage, fault: BaseException) -> str:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    last = "\n  ".join(on.happened[-HAPPENINGS_SHOWN:])
    return (
        f"seed {seed} at {on.seconds:.1f} s, when {on.published:,} records were published: "
        f"{type(fault).__name__}: {fault}\n"
        f"latest events:\n  {last}\nlogs: {on.logs}"
    )

"""One run of a contender over a backlog: its time, its memory, and how much of the outcome is wrong.

The contender first counts a tenth of the records, as a warm-up. Its processes are then paused (SIGSTOP) while
the others are published, and the clock starts when they continue. So no start-up is measured, and each
contender finds a whole backlog. The clock stops when calls and counts are right, or else at their last
change."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from benchmarks.peers.contenders import Contender, Place, Start, make_tables
from benchmarks.peers.processes import Processes
from benchmarks.peers.truth import Cell, Truth, truth
from benchmarks.pipeline import PARTITIONS, cpu_seconds, publish
from services.ops.embedded.servers import Servers
from shared.kafka.topic import ensure_topic

WARM_UP_SHARE: Final = 0.1
WARM_UP_SECONDS: Final = 240
LONGEST_SECONDS: Final = 300
QUIET_SECONDS: Final = 90
"""A run without a change for this long is over. Dead members leave a group after at most 45 s, and a
transaction that was left open ends after 60 s."""
_POLL_SECONDS: Final = 0.1
_WEIGH_SECONDS: Final = 0.5
_STORED: Final = "SELECT count(*) FROM calls"


class Failed(Exception):
    """A run could not be completed. The text is the reason, in one line."""


@dataclass(frozen=True)
class Kill:
    """A kill at this time, or earlier when this share of the calls is stored. It then waits for the pause, so
    that it does not follow a commit."""

    seconds: float
    share: float
    pause_seconds: float


@dataclass(frozen=True)
class Outcome:
    """`counted` is the sum of all counts, and `stored_at_kill` the calls stored at the kill: shares of the
    calls. `cpu_microseconds` is the processor time per record of each part of an undisturbed run
    (`pipeline.cpu_seconds`)."""

    seconds: float
    peak_memory_mb: float
    wrong_cells: int
    wrong_calls: int
    counted: float
    records: int
    cpu_microseconds: Mapping[str, float]
    stored_at_kill: float | None

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / self.seconds


async def run(
    running: Servers,
    contender: Contender,
    start: Start,
    place: Place,
    workload: Sequence[tuple[bytes, bytes]],
    kill: Kill | None = None,
) -> Outcome:
    """Runs a contender over the workload, with an empty database and a topic that does not exist yet. Raises
    Failed, and errors of asyncpg and aiokafka."""
    warm_up = workload[: round(len(workload) * WARM_UP_SHARE)]
    backlog = workload[len(warm_up) :]
    await ensure_topic(place.bootstrap, place.topic, PARTITIONS)
    await publish(place.bootstrap, warm_up, place.topic)
    await make_tables(contender, place.database_url)
    database = await asyncpg.connect(place.database_url)
    try:
        with (place.folder / "log").open("ab") as log:
            processes = Processes(start(place), log)
            try:
                warm = _Watch(contender, database, truth(warm_up), processes)
                await warm.until_over(WARM_UP_SECONDS)
                if await warm.wrong() != (0, 0):
                    raise Failed("the warm-up was not counted right")
                watch = _Watch(contender, database, truth(workload), processes)
                processes.pause()
                await publish(place.bootstrap, backlog, place.topic)
                before = cpu_seconds(running, processes.roots)
                processes.resume()
                await watch.until_over(LONGEST_SECONDS, kill)
                after = cpu_seconds(running, processes.roots)
                wrong_cells, wrong_calls = await watch.wrong()
                return Outcome(
                    watch.seconds,
                    processes.peak_memory_mb,
                    wrong_cells,
                    wrong_calls,
                    watch.counted,
                    len(backlog),
                    {part: (spent - before[part]) / len(backlog) * 1e6 for part, spent in after.items()},
                    watch.stored_at_kill,
                )
            finally:
                processes.kill()
    finally:
        await database.close()


class _Watch:
    """Watches the tables of a contender until they are right or no longer change."""

    def __init__(
        self, contender: Contender, database: asyncpg.Connection, right: Truth, processes: Processes
    ) -> None:
        self.seconds = 0.0
        self.counted = 0.0
        self.stored_at_kill: float | None = None
        self._contender = contender
        self._database = database
        self._right = right
        self._processes = processes

    async def until_over(self, longest_seconds: float, kill: Kill | None = None) -> None:
        """Returns when the tables are right, or no longer change, or it takes too long. Raises Failed when a
        process exits by itself."""
        calls = len(self._right.cell_of_call)
        began = time.perf_counter()
        nothing = seen = (0, 0, 0)
        passed = weighed = 0.0
        while passed < longest_seconds and (seen == nothing or passed - self.seconds < QUIET_SECONDS):
            if self._processes.have_exited():
                raise Failed("a process exited by itself")
            is_due = kill and (passed >= kill.seconds or seen[-1] >= kill.share * calls)
            if kill and is_due and self.stored_at_kill is None:
                await asyncio.sleep(kill.pause_seconds)
                self.stored_at_kill = await self._database.fetchval(_STORED) / calls
                self._processes.kill_and_start_again()
            progress = await self._progress()
            passed = time.perf_counter() - began
            if progress != seen:
                seen, self.seconds, self.counted = progress, passed, progress[1] / calls
            if progress == self._right.progress and await self.wrong() == (0, 0):
                return
            if passed > weighed + _WEIGH_SECONDS:
                weighed = passed
                self._processes.weigh()
            await asyncio.sleep(_POLL_SECONDS)

    async def _progress(self) -> tuple[int, int, int]:
        (row,) = await self._database.fetch(self._contender.progress)
        ended, counted, stored = map(int, row)
        return ended, counted, stored

    async def wrong(self) -> tuple[int, int]:
        """The numbers of wrong cells and wrong calls."""
        counts = {Cell(*key): calls for *key, calls in await self._database.fetch(self._contender.counts)}
        cells = {call: Cell(*key) for call, *key in await self._database.fetch(self._contender.calls)}
        return self._right.wrong_cells(counts), self._right.wrong_calls(cells)

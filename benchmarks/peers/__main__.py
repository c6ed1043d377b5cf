"""The same workload through callfold and its peers: records/s, memory, and wrong cells, also after a SIGKILL.

    .venv/bin/python -m benchmarks.peers [--calls 20000] [--rounds 3] [--kills 3] [--cache DIRECTORY]

Each round runs every contender in turn: undisturbed, and then with a SIGKILL of its processes, after which
they start again. The kill comes after 5, 3 or 7 tenths of the undisturbed time, by round, or when as many of
the calls are stored, and a random moment later. The table has medians of the undisturbed runs, and the wrong
cells of each round."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg

from benchmarks.peers.contenders import CALLFOLD, PEERS, Contender, Place, Start
from benchmarks.peers.environments import NotInstalled
from benchmarks.peers.runs import Failed, Kill, Outcome, run
from benchmarks.peers.truth import truth
from benchmarks.pipeline import KAFKA_PROPERTIES
from benchmarks.workload import records
from services.ops.embedded.servers import Servers, servers
from services.ops.proof.proof import prove

KILLED_AT: Final = (0.5, 0.3, 0.7)
"""The share of the time and of the calls, by round."""
PAUSE_BEFORE_KILL: Final = 0.1
"""The longest, as a share of the undisturbed time."""


@dataclass
class Result:
    """The runs of a contender so far, and the reason why there are no more."""

    contender: Contender
    workload: Sequence[tuple[bytes, bytes]]
    start: Start | None = None
    undisturbed: list[Outcome] = field(default_factory=list)
    killed: list[Outcome] = field(default_factory=list)
    reason: str = ""

    @property
    def rate(self) -> float:
        """The median of records per second."""
        return median(outcome.rate for outcome in self.undisturbed)

    def cpu(self, part: str) -> float:
        """The median of a part's processor time per record, in µs."""
        return median(outcome.cpu_microseconds[part] for outcome in self.undisturbed)


async def measure(
    running: Servers,
    contenders: Sequence[Contender],
    calls: int,
    rounds: int,
    kills: int,
    cache: Path,
    directory: Path,
) -> Sequence[Result]:
    """Installs all contenders and runs them in turn, as often as there are rounds. Raises errors of asyncpg
    and aiokafka."""
    results = [Result(contender, records(round(calls * contender.share))) for contender in contenders]
    chance = random.Random(1)
    for result in results:
        try:
            result.start = await asyncio.to_thread(result.contender.install, cache)
        except NotInstalled as missing:
            result.reason = str(missing)
    for number in range(rounds):
        for result in results:
            if result.start is None or result.reason:
                continue
            try:
                undisturbed = await _run(running, directory, result, result.start, None)
                result.undisturbed.append(undisturbed)
                if number >= kills:
                    continue
                pause = chance.uniform(0, undisturbed.seconds * PAUSE_BEFORE_KILL)
                middle = KILLED_AT[number % len(KILLED_AT)]
                kill = Kill(undisturbed.seconds * middle, middle, pause)
                result.killed.append(await _run(running, directory, result, result.start, kill))
            except Failed as failure:
                result.reason = str(failure)
                print(f"{result.contender.name}: {failure}", flush=True)
    return results


async def _run(running: Servers, directory: Path, result: Result, start: Start, kill: Kill | None) -> Outcome:
    """Runs a contender in a place of its own, and prints the outcome."""
    place = await _place(running, directory)
    outcome = await run(running, result.contender, start, place, result.workload, kill)
    proof = ""
    if result.contender is CALLFOLD:
        proof = f", verify: {'exact' if (await prove(place.database_url)).exact else 'NOT EXACT'}"
    print(f"{result.contender.name}: {len(result.workload):,} records, {outcome}{proof}", flush=True)
    return outcome


async def _place(running: Servers, directory: Path) -> Place:
    """A new database, topic and folder."""
    name = f"peers_{sum(1 for _ in directory.glob('run-*'))}"
    admin = await asyncpg.connect(running.database_url("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name}")
    finally:
        await admin.close()
    folder = directory / f"run-{name}"
    folder.mkdir()
    return Place(running.bootstrap, name, running.database_url(name), folder)


def table(results: Sequence[Result]) -> str:
    """The results as a table of Markdown."""
    lines = [
        "| | version | as run | records | records/s | callfold's / its "
        "| processor µs a record: own / postgres / kafka | peak memory, MB | cells "
        "| wrong cells | wrong cells after a kill (wrong calls) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    callfold = next((each.rate for each in results if each.contender is CALLFOLD and each.undisturbed), None)
    for result in results:
        about = f"| {result.contender.name} | {result.contender.version} | {result.contender.guarantee} |"
        if not result.undisturbed:
            lines.append(f"{about} {result.reason} | | | | | | | |")
            continue
        killed = [f"{each.wrong_cells:,} ({each.wrong_calls:,})" for each in result.killed]
        lines.append(
            f"{about} {len(result.workload):,} | {result.rate:,.0f} "
            f"| {f'{callfold / result.rate:.1f}' if callfold else ''} "
            f"| {' / '.join(f'{result.cpu(part):,.0f}' for part in ('python', 'postgres', 'kafka'))} "
            f"| {max(each.peak_memory_mb for each in result.undisturbed):,.0f} "
            f"| {len(truth(result.workload).counts):,} "
            f"| {', '.join(f'{each.wrong_cells:,}' for each in result.undisturbed)} "
            f"| {'; '.join(filter(None, [', '.join(killed), result.reason]))} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parses the arguments and measures on separate servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=20_000, help="a slow peer gets a share of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3, help="how many of the rounds also kill")
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--cache", type=Path, help="keeps the peers' environments in this folder")
    parser.add_argument("--state", type=Path, help="an empty folder for servers and logs, which is kept")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    names = arguments.only.split(",") if arguments.only else [each.name for each in (CALLFOLD, *PEERS)]
    contenders = [each for each in (CALLFOLD, *PEERS) if each.name in names]
    with tempfile.TemporaryDirectory() as scratch:
        directory = arguments.state or Path(scratch) / "servers"
        directory.mkdir(parents=True, exist_ok=True)
        Path(scratch).chmod(0o755)
        cache = arguments.cache or Path(scratch) / "environments"
        with servers(directory, durable=True, kafka_properties=KAFKA_PROPERTIES) as running:
            results = asyncio.run(
                measure(
                    running, contenders, arguments.calls, arguments.rounds, arguments.kills, cache, directory
                )
            )
    print(table(results))


if __name__ == "__main__":
    main()

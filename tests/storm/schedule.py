"""The schedule: from a seed, the faults, their times and their targets. Pure, so that a seed determines a
storm."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CLUSTER_EVERY: Final = 4
"""One storm in this many seeds runs on a cluster of three brokers."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault, as the schedule sees it."""

    weight: float
    """Its weight: how often it happens, relative to the others."""
    targets: int = 1
    """The number of possible targets: replicas of a service, organizations."""
    lasts_seconds: tuple[float, float] = (0, 0)
    """The shortest and the longest time from the fault to the repair."""
    most: int = 1_000
    """The most times that it happens in one storm."""


@dataclass(frozen=True)
class Planned:
    """One fault: its time from the start of the storm, kind, target and duration."""

    at_seconds: float
    kind: str
    target: int
    lasts_seconds: float
    chance: int
    """A separate seed for the choices of the fault while it runs."""

    def __str__(self) -> str:
        return f"{self.at_seconds:.1f} s: {self.kind} {self.target}, for {self.lasts_seconds:.1f} s"


def brokers_of(seed: int) -> int:
    """The number of brokers in the storm of this seed: one or three."""
    return 3 if seed % CLUSTER_EVERY == 0 else 1


def plan(seed: int, kinds: Mapping[str, Kind], faults: int, seconds: float) -> tuple[Planned, ...]:
    """Plans this many faults within these seconds, ordered by time. The same arguments give the same plan.

    As many kinds as fit happen at least once. The weights decide on the rest.
    """
    chance = random.Random(seed)
    names = chance.sample(sorted(kinds), min(faults, len(kinds)))
    left = {name: kind.most - (name in names) for name, kind in kinds.items()}
    while len(names) < faults:
        open_kinds = sorted(name for name, count in left.items() if count > 0)
        (name,) = chance.choices(open_kinds, [kinds[name].weight for name in open_kinds])
        left[name] -= 1
        names.append(name)
    chance.shuffle(names)
    moments = sorted(chance.uniform(0, seconds) for _ in names)
    return tuple(
        Planned(
            round(at, 3),
            name,
            chance.randrange(kinds[name].targets),
            round(chance.uniform(*kinds[name].lasts_seconds), 3),
            chance.getrandbits(32),
        )
        for at, name in zip(moments, names, strict=True)
    )

"""The schedule: from a seed, which fault comes when and to whom. Pure, so that a seed tells a storm."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CLUSTER_EVERY: Final = 4
"""Every so many seeds, the storm comes over a cluster of three brokers."""


@dataclass(frozen=True)
class Kind:
    """What the schedule must know of a kind of fault."""

    weight: float
    """How often it comes, beside the others' weights."""
    targets: int = 1
    """How many there are to choose from: replicas of a service, organizations."""
    lasts_seconds: tuple[float, float] = (0, 0)
    """The shortest and the longest time from the blow to the repair."""
    most: int = 1_000
    """How often it comes in one storm."""


@dataclass(frozen=True)
class Planned:
    """One fault: when, counted from the storm's begin, what, whom, and for how long."""

    at_seconds: float
    kind: str
    target: int
    lasts_seconds: float
    chance: int
    """A seed of its own for what the fault chooses while it happens."""

    def __str__(self) -> str:
        return f"{self.at_seconds:.1f} s: {self.kind} {self.target}, for {self.lasts_seconds:.1f} s"


def brokers_of(seed: int) -> int:
    """Over how many brokers the storm of this seed comes: one or three."""
    return 3 if seed % CLUSTER_EVERY == 0 else 1


def plan(seed: int, kinds: Mapping[str, Kind], faults: int, seconds: float) -> tuple[Planned, ...]:
    """So many faults within these seconds, in the order of their times. The same arguments give the same.

    As many kinds as there is room for come at least once; of the rest, the weights decide.
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

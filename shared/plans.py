"""Plans: how many requests each credential of an organization may make. Pure."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

UNLIMITED: Final = "unlimited"
"""The default plan of an organization. It has no limits unless CALLFOLD_PLANS sets some."""

_is_name = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}").fullmatch
_read_limit = re.compile(r"([1-9][0-9]{0,8})/(s|day)").fullmatch


class Plan(NamedTuple):
    """The most requests of one key, or of one user, per second and per day. None means no limit."""

    per_second: int | None = None
    per_day: int | None = None


def is_plan_name(text: str) -> bool:
    """Whether this text is a valid name of a plan."""
    return bool(_is_name(text))


def read_plans(text: str) -> Mapping[str, Plan]:
    """The plans in a text such as `free=5/s,5000/day;pro=50/s`, and the unlimited one. Raises ValueError."""
    plans = {UNLIMITED: Plan()}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, limits = part.partition("=")
        if not is_plan_name(name.strip()):
            raise ValueError(f"{name!r} is not a valid plan name")
        plans[name.strip()] = _plan(limits)
    return plans


def _plan(limits: str) -> Plan:
    read: dict[str, int] = {}
    for limit in limits.split(","):
        match = _read_limit(limit.strip())
        if match is None or match[2] in read:
            raise ValueError(f"{limit!r} is not a limit such as 5/s or 5000/day")
        read[match[2]] = int(match[1])
    return Plan(read.get("s"), read.get("day"))

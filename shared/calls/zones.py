"""Time zones, by the rules of the `tzdata` package that the lock pins.

The standard library reads the system's tables first (`zoneinfo.TZPATH`, which PYTHONTZPATH changes), and the
package only for zones missing there. Two machines could then place one call on different days. So every zone
comes from this module, and tests/calls/test_zones.py forbids `ZoneInfo(…)` elsewhere.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import Final
from zoneinfo import ZoneInfo

import tzdata

RULES_VERSION: Final[str] = tzdata.IANA_VERSION
"""The release of the IANA's rules, such as 2026b."""


class _PackagedZone(ZoneInfo):
    """A zone of the package. ZoneInfo refuses to copy or pickle a zone loaded from a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return time_zone, (self.key,)


@cache
def zone_names() -> frozenset[str]:
    """The IANA names of all time zones, old names included."""
    return frozenset(_PACKAGE.joinpath("zones").read_text("ascii").split()) - {"Factory"}  # a placeholder


def find_time_zone(name: str) -> ZoneInfo | None:
    """The time zone with this IANA name, one object for each name; None where the rules have no such zone."""
    return _load(name) if name in zone_names() else None


def time_zone(name: str) -> ZoneInfo:
    """The time zone with this IANA name; UTC where the rules have no such zone."""
    return find_time_zone(name) or UTC


def zone_rules(name: str) -> str:
    """The rules of `time_zone(name)`, in the form of `organizations.zone_rules`: the release, for people, the
    name, and a digest of this zone's data, such as `2026b Europe/Berlin 7d23681b36840f2c`."""
    return f"{RULES_VERSION} {name} {_digest(time_zone(name).key)}"


def has_same_rules(name: str, recorded: str | None) -> bool:
    """Whether recorded rules equal the current ones of `time_zone(name)`. Another release with the same data
    for the zone is equal. Without a record (None), only UTC, which never changes, is equal."""
    if recorded is None:
        return time_zone(name) is UTC
    return recorded.partition(" ")[2] == zone_rules(name).partition(" ")[2]


def has_other_rules(name: str, recorded: str | None) -> bool:
    """Whether recorded rules differ from the current ones of this zone, or none are recorded (None). False
    for the rules of another zone."""
    of_zone = recorded is None or recorded.partition(" ")[2].rpartition(" ")[0] == name
    return of_zone and not has_same_rules(name, recorded)


@cache
def _load(name: str) -> ZoneInfo:
    return _PackagedZone.from_file(BytesIO(_data(name)), name)


@cache
def _digest(name: str) -> str:
    return sha256(_data(name)).hexdigest()[:16]


def _data(name: str) -> bytes:
    """The zone's file, in the format of RFC 9636."""
    return _PACKAGE.joinpath("zoneinfo", *name.split("/")).read_bytes()


_PACKAGE: Final = files("tzdata")
UTC: Final = _load("UTC")

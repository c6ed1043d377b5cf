"""Which call a record names, although it cannot become an event. Pure.

A record that breaks a rule can still hold a call's numbers and transcript. Whoever deletes the call must find
it. So this reads more than `shared.calls.event.read` accepts: a value that is too large, nested too deeply,
cut off or not UTF-8, an event within another object, and several events in one value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.calls import lenient
from shared.calls.event import EARLIEST, call_uuid
from shared.calls.lenient import Unreadable
from shared.calls.organization_tombstone import organization_tombstone

SEVERAL_CALLS: Final = UUID(int=0)
"""Stands for the call of a record that names more than one call of its organization."""
ESCAPES_MAX: Final = 3
"""How often JSON may stand as a text within JSON."""


@dataclass(frozen=True)
class NamedCall:
    """What a record says of the call that it belongs to.

    `organizations` are all the organizations that it names, and `calls` the ids of all the calls that it
    names within its one organization. `timestamp` (aware) is the earliest time of an event in it, None where
    it has no readable one."""

    organizations: frozenset[UUID] = frozenset()
    calls: frozenset[UUID] = frozenset()
    timestamp: datetime | None = None

    @property
    def organization_id(self) -> UUID | None:
        """The organization that it names; None where it names no organization or several."""
        return next(iter(self.organizations)) if len(self.organizations) == 1 else None

    @property
    def call_id(self) -> UUID | None:
        """The call that it names, `SEVERAL_CALLS`, or None where it names no call."""
        if len(self.calls) > 1:
            return SEVERAL_CALLS
        return next(iter(self.calls), None)

    @property
    def keys(self) -> list[tuple[UUID, UUID]]:
        """Organization and call of each call that it names, in their order."""
        organization_id = self.organization_id
        return [] if organization_id is None else [(organization_id, call) for call in sorted(self.calls)]

    @property
    def tombstones(self) -> list[tuple[UUID, UUID]]:
        """The keys under which `deleted_calls` has a tombstone when what is named is deleted: those of the
        calls, and those of the organizations."""
        return [*self.keys, *((owner, organization_tombstone(owner)) for owner in self.organizations)]


def named_call(key: bytes | None, value: bytes | None) -> NamedCall:
    """What a record's key and value say of its call. Never raises.

    An object that names organization and call at its top names these alone. Of any other value each
    `organization_id`, `call_id` and `timestamp` counts, wherever it stands. Where the value names one
    organization and no call, the key is the call's id, as the contract recommends."""
    fields = _fields_at_the_top(value) or _fields_anywhere(value)
    organizations = frozenset(filter(None, map(_uuid, fields.organizations)))
    calls: frozenset[UUID] = frozenset()
    if len(organizations) == 1:
        (owner,) = organizations
        texts = fields.calls or ([key.decode(errors="replace")] if key else [])
        calls = frozenset(call_uuid(owner, text) for text in texts)
    times = [time for time in map(_time, fields.timestamps) if time is not None and time >= EARLIEST]
    return NamedCall(organizations, calls, min(times, default=None))


@dataclass(frozen=True)
class _Fields:
    organizations: list[str]
    calls: list[str]
    timestamps: list[str]


def _fields_at_the_top(value: bytes | None) -> _Fields | None:
    """What an object says at its top; None where that does not name organization and call."""
    try:
        written: Any = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if not isinstance(written, dict):
        return None
    organization, call, timestamp = (
        str(field) if isinstance(field, str | int) and not isinstance(field, bool) else ""
        for field in (written.get(name) for name in ("organization_id", "call_id", "timestamp"))
    )
    return _Fields([organization], [call], [timestamp]) if _uuid(organization) and call else None


def _fields_anywhere(value: bytes | None) -> _Fields:
    """Everything that stands under these names, in whatever it is."""
    fields = _Fields([], [], [])
    lists = {
        "organizationid": fields.organizations,
        "callid": fields.calls,
        "timestamp": fields.timestamps,
    }
    # Without null bytes, UTF-16 reads as ASCII where it is ASCII.
    for text in _unescaped((value or b"").decode(errors="replace").replace("\0", "")):
        for field in _NAMED(text):
            name = field["name"].replace("_", "").lower()
            lists[name].append(field["number"] or _text(field["text"]))
        if fields.organizations and fields.calls:
            break  # what is escaped now is a part of a text
    return fields


def _unescaped(text: str) -> Iterator[str]:
    """A text, and what it is where it is JSON within a text of JSON."""
    yield text
    for _ in range(ESCAPES_MAX):
        if '\\"' not in text:
            return
        text = text.replace('\\"', '"').replace("\\\\", "\\")
        yield text


_NAMED: Final = re.compile(
    r'"(?P<name>organization_?id|call_?id|timestamp)"\s*:\s*(?:"(?P<text>(?:[^"\\]|\\.)+)"|(?P<number>\d+))',
    re.IGNORECASE,
).finditer


def _text(written: str) -> str:
    """The text that stands between a JSON text's quotes; as it stands where it is not valid."""
    try:
        return msgspec.json.decode(f'"{written}"', type=str)
    except msgspec.DecodeError:
        return written


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    try:
        return lenient.instant(text)
    except Unreadable:
        return None

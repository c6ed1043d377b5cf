"""The call that a bad record names. Pure.

A record that breaks a rule can still contain a call's numbers and transcript, and a delete of the call must
find it. So this module reads more than `shared.calls.event.read` accepts: a value that is too large, nested
too deeply, truncated or not UTF-8, an event within another object, and several events in one value.
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
"""How many times JSON may be encoded as a text within JSON."""


@dataclass(frozen=True)
class NamedCall:
    """The call and organization that a record names.

    `organizations` holds all organizations that the record names, and `calls` the ids of all calls that it
    names within its one organization. `timestamp` (aware) is the earliest time of an event in the record, or
    None without a readable one."""

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
        """The keys of the possible tombstones in `deleted_calls`: those of the named calls and of the named
        organizations."""
        return [*self.keys, *((owner, organization_tombstone(owner)) for owner in self.organizations)]


def named_call(key: bytes | None, value: bytes | None) -> NamedCall:
    """Finds the call that a record's key and value name. Never raises.

    If an object gives organization and call at its top level, only these count. In any other value, each
    `organization_id`, `call_id` and `timestamp` counts, wherever it occurs. If the value names one
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
    """The fields at an object's top level; None if these do not name organization and call."""
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
    """All values of these fields, anywhere in the value."""
    fields = _Fields([], [], [])
    lists = {
        "organizationid": fields.organizations,
        "callid": fields.calls,
        "timestamp": fields.timestamps,
    }
    # Without its null bytes, ASCII text in UTF-16 reads as ASCII.
    for text in _unescaped((value or b"").decode(errors="replace").replace("\0", "")):
        for field in _NAMED(text):
            name = field["name"].replace("_", "").lower()
            lists[name].append(field["number"] or _text(field["text"]))
        if fields.organizations and fields.calls:
            break  # text that is still escaped belongs to a field's value
    return fields


def _unescaped(text: str) -> Iterator[str]:
    """The text, then the same with each level of JSON within a JSON text unescaped."""
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
    """Decodes the content of a JSON text; returns it unchanged if it is not valid."""
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

"""A dialect: how callfold reads the records of one telephony system, and what its documentation says."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.sources.delivery import Delivery
from shared.sources.outcome import Fact, Response
from shared.sources.record import Record, at, text
from shared.sources.source import Source

Way = Literal["http", "kafka"]
Read = Callable[[Record], Sequence[Fact]]
Verify = Callable[[Delivery, Source], Response | None]
Named = Callable[[Record, str], str | None]
Decode = Callable[[Delivery, Source], Iterable[Any]]
Answer = Callable[[Delivery], Response]
SignsAddress = Callable[[Source], bool]


def never(_: Source) -> bool:
    """Signatures of this system do not cover the address."""
    return False


def always(_: Source) -> bool:
    """Signatures of this system cover the address."""
    return True


def named_at(record: Record, by: str) -> str | None:
    """The text at the dotted path `by`. Of several paths, separated by commas, the first that gives one."""
    for path in by.split(","):
        if (name := text(at(record.value, path.strip()))) is not None:
            return name
    return None


@dataclass(frozen=True)
class Secret:
    """A secret of a source. `meaning` says what it is and where the vendor shows it."""

    name: str
    meaning: str
    required: bool = True


@dataclass(frozen=True)
class Setting:
    """A setting of a source. `meaning` says its form, its effect and its default."""

    name: str
    meaning: str
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One telephony system.

    `read` turns a record into facts; it raises Ignored and Quarantined. `verify` checks a request; it raises
    Refused, and returns the answer to a handshake, or None for a request to be kept. Without `verify`, a
    request is checked by HTTP basic credentials if the source has them. `signs_address` tells whether the
    signatures of a source cover the address that the system calls. `answer` makes the response to a
    request that is kept; without it, the response is 200 and empty. `named` finds the value that
    `organizations_by` asks for. `decode` replaces the usual reading of bodies (JSON, forms, queries): it
    returns the body's values, and raises Quarantined. `names_organization` is true where the named value is
    the organization's UUID itself.
    """

    name: str
    title: str
    ways: tuple[Way, ...]
    read: Read
    verify: Verify | None = None
    signs_address: SignsAddress = never
    answer: Answer | None = None
    named: Named = named_at
    decode: Decode | None = None
    organizations_by: str | None = None
    names_organization: bool = False
    kept_headers: tuple[str, ...] = ()
    """Headers that `read` or `named` needs, in lower case. No others are stored."""
    secrets: tuple[Secret, ...] = ()
    one_of_secrets: tuple[str, ...] = ()
    """The secrets of which a request's check needs one, and any one is enough."""
    settings: tuple[Setting, ...] = ()
    setup: str
    """The steps at the vendor: Markdown, one or several paragraphs or a list."""
    gives: str
    """The fields that calls of this system have: Markdown."""
    lacks: str
    """The facts that this system cannot give: Markdown."""
    from_memory: str = ""
    """The facts that no document and no capture confirms: Markdown. Empty if all are confirmed."""

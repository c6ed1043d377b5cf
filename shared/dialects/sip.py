"""SIP: the parts that the dialects of SIP proxies share: replies as facts, and own and foreign domains."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from shared.calls.event import Direction, EventType
from shared.calls.hangup import CAUSES, SPELLINGS
from shared.sources.causes import q850_of_reason, status_of_sip
from shared.sources.dialect import Setting
from shared.sources.directions import OWN_NUMBERS, by_own_numbers
from shared.sources.outcome import Ignored, Quarantined
from shared.sources.parties import sip_domain, sip_user
from shared.sources.placement import NOT_OWN
from shared.sources.record import at, text
from shared.sources.source import OWN_DOMAINS, Source

DOMAIN: Final = "domain"
"""The kind of field for `organizations_by`: the own domain in From or To."""
RINGING: Final = frozenset({180, 183})
_ANSWERED_ELSEWHERE: Final = 26
_URI_LENGTH_MAX: Final = 256

OWN_DOMAINS_SETTING: Final = Setting(
    OWN_DOMAINS,
    "A JSON object or list of the organizations' own SIP domains. `*.example.com` stands for all domains "
    "that end so. They give the direction. By default, they are the mapped domains.",
)
OWN_NUMBERS_SETTING: Final = Setting(
    OWN_NUMBERS,
    "A JSON list of the organization's numbers, as the proxy writes them. They give the direction where "
    "domains are addresses.",
)


class Party(NamedTuple):
    """A caller or a callee. `number` is the user part of its URI."""

    number: str | None = None
    domain: str | None = None


class Ends(NamedTuple):
    """From and To. `may_be_swapped` is true for a request that either end can send."""

    caller: Party
    callee: Party
    may_be_swapped: bool = False


def party(uri: Any) -> Party:
    """The party of a URI or name-addr, which is any JSON value."""
    if isinstance(uri, str) and len(uri) <= _URI_LENGTH_MAX:
        return _short_party(uri)
    return Party(sip_user(uri), sip_domain(uri))


@lru_cache(maxsize=1_000)
def _short_party(uri: str) -> Party:
    return Party(sip_user(uri), sip_domain(uri))


def of_reply(code: int, reason: str | None = None) -> tuple[EventType, dict[str, Any]]:
    """The event's type and data for a reply to a call's first INVITE (RFC 3261, 21). `reason` is its header
    Reason. Raises Ignored for a reply that changes nothing."""
    if code in RINGING:
        return "call.ringing", {}
    if 200 <= code < 300:
        return "call.answered", {}
    status = status_of_sip(code)
    if status is None:
        raise Ignored(f"a reply {code} changes nothing")
    if code == 487 and _is_answered_elsewhere(reason):
        raise Ignored("another branch of the call was answered")
    return "call.failed", {"status": status, "hangup_cause": f"SIP {code}"}


def _is_answered_elsewhere(reason: str | None) -> bool:
    if reason is None:
        return False
    return q850_of_reason(reason) == _ANSWERED_ELSEWHERE or "cause=200" in reason.replace(" ", "")


def cause_of_reason(header: Any) -> str | None:
    """The name of the Q.850 cause in a Reason header; a number without a name as it is."""
    cause = q850_of_reason(text(header))
    if cause is None:
        return None
    index = SPELLINGS.get(str(cause))
    return CAUSES[index] if index is not None else str(cause)


def own_domain(domain: str | None, source: Source) -> str | None:
    """The entry of the source's own domains that covers this domain: itself, or `*` and an end of it."""
    own = source.own_domains()
    if domain is None or not isinstance(own, dict | list):
        return None
    if domain in own:
        return domain
    position = domain.find(".")
    while position >= 0:
        if (suffix := f"*{domain[position:]}") in own:
            return suffix
        position = domain.find(".", position + 1)
    return None


def direction(ends: Ends, source: Source) -> Direction | None:
    """Own to foreign is outbound, foreign to own is inbound. None between two own ends, and where a domain
    is missing or no domain and no number is own."""
    caller, callee = ends.caller, ends.callee
    if caller.domain is not None and callee.domain is not None:
        from_own = own_domain(caller.domain, source) is not None
        to_own = own_domain(callee.domain, source) is not None
        if from_own is not to_own:
            return "outbound" if from_own else "inbound"
        if from_own:
            return None
    return by_own_numbers(source, caller.number, callee.number)


def parties(ends: Ends, source: Source) -> dict[str, Any]:
    """The fields of an event that describe the ends of a call."""
    return {
        "from_number": ends.caller.number,
        "to_number": ends.callee.number,
        "direction": direction(ends, source),
    }


def own_domain_of(ends: Ends, source: Source, *, begins: bool = False) -> str | None:
    """The own domain whose organization has the call: From's, else To's. None if the record cannot tell it.
    Raises Quarantined for the begin of a call between two foreign domains."""
    caller, callee = own_domain(ends.caller.domain, source), own_domain(ends.callee.domain, source)
    if caller is None or callee is None:
        found = caller or callee
        if found is None and begins and source.organization is None:
            first, second = (str(end.domain)[:120] for end in (ends.caller, ends.callee))
            raise Quarantined(f"Neither {first!r} nor {second!r} {NOT_OWN}")
        return found
    if ends.may_be_swapped and source.organizations.get(caller) != source.organizations.get(callee):
        return None
    return caller


def named(fields: Any, by: str, domain: Callable[[], str | None]) -> str | None:
    """The value that the first of the fields in `by` gives. They are dotted paths, separated by commas.
    `domain()` finds the value of the kind of field `domain`."""
    for path in by.split(","):
        path = path.strip()
        name = domain() if path == DOMAIN else text(at(fields, path))
        if name is not None:
            return name
    return None

"""Parties: the numbers and SIP addresses of callers and callees."""

import re
from typing import Any, Final
from urllib.parse import unquote

from shared.sources.record import shortened, text

ANONYMOUS: Final = "anonymous"
_HIDDEN: Final = frozenset({"anonymous", "unknown", "<unknown>", "restricted", "private"})
_E164: Final = re.compile(r"[1-9][0-9]{6,14}")
_SEPARATORS: Final = re.compile(r"[-.() ]")
_ADDRESS: Final = re.compile(r"<([^>]*)>")


def direction(value: Any) -> str | None:
    """`inbound` or `outbound` as sent; None for any other word."""
    return value if value in ("inbound", "outbound") else None


def number(value: Any) -> str | None:
    """A number, an address or a word, as sent; None if there is none."""
    return shortened(text(value))


def e164(value: Any) -> str | None:
    """A number of a system that documents E.164 without the plus sign: with it. Anything else as sent."""
    given = text(value)
    return f"+{given}" if given is not None and _E164.fullmatch(given) else shortened(given)


def bare_number(value: Any) -> str | None:
    """A number of a switch that names parties without a URI: its user part. A hidden caller is `anonymous`.
    None if there is none."""
    given = text(value)
    if given is None:
        return None
    if given.lower() in _HIDDEN:
        return ANONYMOUS
    return shortened(_SEPARATORS.sub("", given) if given.startswith("+") else given)


def sip_user(value: Any) -> str | None:
    """The number in a SIP or tel URI, a name-addr or a bare user: its user part. A hidden caller is
    `anonymous`. None if there is no value."""
    if value is None:
        return None
    user, domain = sip_user_and_domain(value)
    if user is None:
        return ANONYMOUS if text(value) is not None or value == "" else None
    if user.lower() in _HIDDEN or domain == "anonymous.invalid":
        return ANONYMOUS
    if user.startswith("+"):
        user = _SEPARATORS.sub("", user)
    return shortened(user)


def sip_domain(value: Any) -> str | None:
    """The domain of a SIP URI, in lower case, without its port; None if there is none."""
    return sip_user_and_domain(value)[1]


def sip_user_and_domain(value: Any) -> tuple[str | None, str | None]:
    """The decoded user part and the domain of a SIP URI; None for a part that is missing or empty."""
    given = text(value)
    if given is None:
        return None, None
    if found := _ADDRESS.search(given):
        given = found[1].strip()
    scheme, colon, rest = given.partition(":")
    if colon and scheme.lower() in ("sip", "sips", "tel"):
        given = rest
    user, at_sign, host = given.rpartition("@")
    if not at_sign:
        user, host = (given, "") if not colon or scheme.lower() == "tel" else ("", given)
    user = unquote(user.partition(";")[0]).partition(";")[0].strip()
    host = host.partition(";")[0].partition("?")[0].strip().lower()
    host = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return user or None, host or None

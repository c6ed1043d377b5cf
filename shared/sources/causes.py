"""Causes: the status of a call that ended unanswered, by its SIP response code or its Q.850 cause."""

import re
from typing import Any, Final, Literal

from shared.sources.record import whole

Unanswered = Literal["busy", "no_answer", "canceled", "failed"]
_NO_END: Final = frozenset({*range(300, 306), 380, 401, 407, 422, 423, 491, 494})
"""SIP: redirects, challenges and negotiations, after which the call is tried again."""
_BY_SIP: Final[dict[int, Unanswered]] = {
    486: "busy",
    600: "busy",
    408: "no_answer",
    480: "no_answer",
    487: "canceled",
}
_BY_Q850: Final[dict[int, Unanswered]] = {
    17: "busy",
    18: "no_answer",
    19: "no_answer",
    20: "no_answer",
    102: "no_answer",
    16: "canceled",
    26: "canceled",
}
_Q850_CAUSE: Final = re.compile(r"Q\.850\s*;\s*cause\s*=\s*(\d{1,3})", re.IGNORECASE)


def status_of_sip(code: int) -> Unanswered | None:
    """The status that a final response to an INVITE means; None if the call is tried again (RFC 3261,
    21)."""
    if code in _NO_END or code < 300:
        return None
    return _BY_SIP.get(code, "failed")


def status_of_q850(cause: int) -> Unanswered:
    """The status that a Q.850 cause of an unanswered call means."""
    return _BY_Q850.get(cause, "failed")


def sip_code(value: Any) -> int | None:
    """A SIP response code from 100 to 699; None for anything else."""
    code = whole(value)
    return code if code is not None and 100 <= code <= 699 else None


def sip_cause(value: Any) -> str | None:
    """The hangup cause of a SIP code of 300 or more, as `SIP 486`; None for anything else."""
    code = sip_code(value)
    return f"SIP {code}" if code is not None and code >= 300 else None


def q850_of_reason(header: str | None) -> int | None:
    """The Q.850 cause in a Reason header (RFC 3326); None if it has none."""
    found = _Q850_CAUSE.search(header) if header else None
    return int(found[1]) if found else None

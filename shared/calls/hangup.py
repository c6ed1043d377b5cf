"""Hangup causes: the names under which ended calls are counted, and the causes that count as effective.

The names are those of ITU-T Q.850 in the spelling of switches, and the switches' own. A cause is recognized
by exact spelling: a name in upper or lower case, a Q.850 number, or a SIP status (`SIP 486`, `SIP_486`,
`sip:486`). `spelled` converts other common spellings to these. Every other text is counted as OTHER.
"""

import re
from collections.abc import Container, Mapping
from functools import lru_cache
from typing import Final

NONE: Final = "NONE"
"""An ended call without a cause."""
OTHER: Final = "OTHER"

_Q850: Final = {
    1: "UNALLOCATED_NUMBER",
    2: "NO_ROUTE_TRANSIT_NET",
    3: "NO_ROUTE_DESTINATION",
    6: "CHANNEL_UNACCEPTABLE",
    7: "CALL_AWARDED_DELIVERED",
    16: "NORMAL_CLEARING",
    17: "USER_BUSY",
    18: "NO_USER_RESPONSE",
    19: "NO_ANSWER",
    20: "SUBSCRIBER_ABSENT",
    21: "CALL_REJECTED",
    22: "NUMBER_CHANGED",
    23: "REDIRECTION_TO_NEW_DESTINATION",
    25: "EXCHANGE_ROUTING_ERROR",
    26: "NON_SELECTED_USER_CLEARING",
    27: "DESTINATION_OUT_OF_ORDER",
    28: "INVALID_NUMBER_FORMAT",
    29: "FACILITY_REJECTED",
    30: "RESPONSE_TO_STATUS_ENQUIRY",
    31: "NORMAL_UNSPECIFIED",
    34: "NORMAL_CIRCUIT_CONGESTION",
    38: "NETWORK_OUT_OF_ORDER",
    41: "NORMAL_TEMPORARY_FAILURE",
    42: "SWITCH_CONGESTION",
    43: "ACCESS_INFO_DISCARDED",
    44: "REQUESTED_CHAN_UNAVAIL",
    45: "PRE_EMPTED",
    47: "RESOURCE_UNAVAILABLE",
    50: "FACILITY_NOT_SUBSCRIBED",
    52: "OUTGOING_CALL_BARRED",
    54: "INCOMING_CALL_BARRED",
    57: "BEARERCAPABILITY_NOTAUTH",
    58: "BEARERCAPABILITY_NOTAVAIL",
    63: "SERVICE_UNAVAILABLE",
    65: "BEARERCAPABILITY_NOTIMPL",
    66: "CHAN_NOT_IMPLEMENTED",
    69: "FACILITY_NOT_IMPLEMENTED",
    79: "SERVICE_NOT_IMPLEMENTED",
    81: "INVALID_CALL_REFERENCE",
    88: "INCOMPATIBLE_DESTINATION",
    95: "INVALID_MSG_UNSPECIFIED",
    96: "MANDATORY_IE_MISSING",
    97: "MESSAGE_TYPE_NONEXIST",
    98: "WRONG_MESSAGE",
    99: "IE_NONEXIST",
    100: "INVALID_IE_CONTENTS",
    101: "WRONG_CALL_STATE",
    102: "RECOVERY_ON_TIMER_EXPIRE",
    103: "MANDATORY_IE_LENGTH_ERROR",
    111: "PROTOCOL_ERROR",
    127: "INTERWORKING",
}
_OF_SWITCHES: Final = (
    "ORIGINATOR_CANCEL",
    "CRASH",
    "SYSTEM_SHUTDOWN",
    "LOSE_RACE",
    "MANAGER_REQUEST",
    "BLIND_TRANSFER",
    "ATTENDED_TRANSFER",
    "ALLOTTED_TIMEOUT",
    "USER_CHALLENGE",
    "MEDIA_TIMEOUT",
    "PICKED_OFF",
    "USER_NOT_REGISTERED",
    "PROGRESS_TIMEOUT",
    "GATEWAY_DOWN",
    "MISSING_HANGUP",
)
_SIP: Final = {  # as RFC 3398 maps them to Q.850, and the caller's own cancel
    400: "NORMAL_TEMPORARY_FAILURE",
    401: "CALL_REJECTED",
    402: "CALL_REJECTED",
    403: "CALL_REJECTED",
    404: "UNALLOCATED_NUMBER",
    405: "SERVICE_UNAVAILABLE",
    406: "SERVICE_NOT_IMPLEMENTED",
    407: "CALL_REJECTED",
    408: "RECOVERY_ON_TIMER_EXPIRE",
    410: "NUMBER_CHANGED",
    480: "NO_USER_RESPONSE",
    481: "NORMAL_TEMPORARY_FAILURE",
    484: "INVALID_NUMBER_FORMAT",
    485: "UNALLOCATED_NUMBER",
    486: "USER_BUSY",
    487: "ORIGINATOR_CANCEL",
    500: "NORMAL_TEMPORARY_FAILURE",
    501: "SERVICE_NOT_IMPLEMENTED",
    502: "NETWORK_OUT_OF_ORDER",
    503: "NORMAL_TEMPORARY_FAILURE",
    504: "RECOVERY_ON_TIMER_EXPIRE",
    600: "USER_BUSY",
    603: "CALL_REJECTED",
    604: "UNALLOCATED_NUMBER",
}

CAUSES: Final[tuple[str, ...]] = (NONE, OTHER, *_Q850.values(), *_OF_SWITCHES)
"""By index, which is stored: new names are appended, and none is ever removed."""

_EFFECTIVE_NAMES: Final = (
    # The called side decided, or did not react.
    "NORMAL_CLEARING",
    "USER_BUSY",
    "NO_USER_RESPONSE",
    "NO_ANSWER",
    "SUBSCRIBER_ABSENT",
    "CALL_REJECTED",
    "NUMBER_CHANGED",
    "NON_SELECTED_USER_CLEARING",
    "NORMAL_UNSPECIFIED",
    "USER_NOT_REGISTERED",
    # The calling side hung up, or another phone answered the call.
    "ORIGINATOR_CANCEL",
    "LOSE_RACE",
    "PICKED_OFF",
)
EFFECTIVE: Final = frozenset(map(CAUSES.index, _EFFECTIVE_NAMES))
"""The causes, by index, with which an unanswered call counts in the network effectiveness ratio of ITU-T
E.425: the network delivered the call, and people or their phones decided the rest."""


def _spellings() -> dict[str, int]:
    index = {name: n for n, name in enumerate(CAUSES)}
    spellings = {spelt: n for name, n in index.items() for spelt in (name, name.lower())}
    spellings |= {str(number): index[name] for number, name in _Q850.items()}
    for status, name in _SIP.items():
        spellings |= {f"{before}{status}": index[name] for before in ("SIP ", "SIP_", "sip ", "sip_", "sip:")}
    return spellings


SPELLINGS: Final[Mapping[str, int]] = _spellings()
"""The index of a cause by each of its spellings."""


def cause_index(hangup_cause: str | None) -> int:
    """The index in `CAUSES` under which an ended call with this cause counts."""
    return 0 if hangup_cause is None else SPELLINGS.get(hangup_cause, 1)


def spellings_of(causes: Container[int]) -> list[str]:
    """Every spelling of these causes, which are given by index."""
    return [spelling for spelling, index in SPELLINGS.items() if index in causes]


_OFFICIAL: Final = {
    "UNALLOCATED_UNASSIGNED_NUMBER": "UNALLOCATED_NUMBER",
    "UNASSIGNED_NUMBER": "UNALLOCATED_NUMBER",
    "NO_ROUTE_TO_SPECIFIED_TRANSIT_NETWORK": "NO_ROUTE_TRANSIT_NET",
    "NO_ROUTE_TO_DESTINATION": "NO_ROUTE_DESTINATION",
    "NORMAL_CALL_CLEARING": "NORMAL_CLEARING",
    "BUSY": "USER_BUSY",
    "NO_USER_RESPONDING": "NO_USER_RESPONSE",
    "NO_ANSWER_FROM_USER_USER_ALERTED": "NO_ANSWER",
    "USER_ALERTING_NO_ANSWER": "NO_ANSWER",
    "NO_ANSWER_FROM_USER": "NO_ANSWER",
    "CALL_REJECTED_BY_USER": "CALL_REJECTED",
    "INVALID_NUMBER_FORMAT_ADDRESS_INCOMPLETE": "INVALID_NUMBER_FORMAT",
    "NO_CIRCUIT_CHANNEL_AVAILABLE": "NORMAL_CIRCUIT_CONGESTION",
    "TEMPORARY_FAILURE": "NORMAL_TEMPORARY_FAILURE",
    "SWITCHING_EQUIPMENT_CONGESTION": "SWITCH_CONGESTION",
    "REQUESTED_CIRCUIT_CHANNEL_NOT_AVAILABLE": "REQUESTED_CHAN_UNAVAIL",
    "RESOURCE_UNAVAILABLE_UNSPECIFIED": "RESOURCE_UNAVAILABLE",
    "SERVICE_OR_OPTION_NOT_AVAILABLE_UNSPECIFIED": "SERVICE_UNAVAILABLE",
    "RECOVERY_ON_TIMER_EXPIRY": "RECOVERY_ON_TIMER_EXPIRE",
    "PROTOCOL_ERROR_UNSPECIFIED": "PROTOCOL_ERROR",
    "INTERWORKING_UNSPECIFIED": "INTERWORKING",
}
"""Names of causes in ITU-T Q.850 and in switches' logs, with the name under which each is counted."""
_NUMBERED: Final = re.compile(r"(?:Q\.?850|CAUSE)\D{1,10}0*(\d{1,3})(?!\d).*", re.DOTALL).fullmatch
_SIP_STATUS: Final = re.compile(r"SIP(?:/2\.0)?\W{0,3}(?:CAUSE\W)?([3-6]\d\d)(?!\d).*", re.DOTALL).fullmatch


@lru_cache(maxsize=10_000)
def spelled(hangup_cause: str) -> str:
    """Converts a cause to a spelling that is counted, such as `Normal Clearing`, `SIP/2.0 486 Busy Here` or
    `Q.850;cause=16`. Returns any other text unchanged."""
    if hangup_cause in SPELLINGS:
        return hangup_cause
    given = hangup_cause.strip().upper()
    name = re.sub(r"[^A-Z0-9]+", "_", given).strip("_")
    name = _OFFICIAL.get(name, name)
    if given in SPELLINGS:
        return given
    if name in SPELLINGS and not name.isdecimal():  # `-1` is not 1
        return name
    for form, prefix in ((_NUMBERED, ""), (_SIP_STATUS, "SIP ")):
        if (found := form(given)) and (known := prefix + found[1]) in SPELLINGS:
            return known
    return hangup_cause

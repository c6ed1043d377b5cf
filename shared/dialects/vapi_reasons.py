"""Vapi's endedReason: the status of an ended call, and whether the call was answered.

Version 3.0.0 of Vapi's SDK lists 604 words, and later versions add more. Most of them name an error of a
provider, so their beginnings and parts decide. WORDS has those that no pattern reads.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from shared.calls.event import Status
from shared.sources.causes import sip_code, status_of_sip


class Ending(NamedTuple):
    """How a call ended: its status, and whether it was answered before."""

    status: Status
    answered: bool


COMPLETED: Final = Ending("completed", True)
BROKEN: Final = Ending("failed", True)
FAILED: Final = Ending("failed", False)
CANCELED: Final = Ending("canceled", False)

WORDS: Final[Mapping[str, Ending]] = {
    "customer-busy": Ending("busy", False),
    "customer-did-not-answer": Ending("no_answer", False),
    "manually-canceled": CANCELED,
    "scheduled-call-deleted": CANCELED,
    "call-deleted": CANCELED,
    "call.ringing.sip-inbound-caller-hungup-before-call-connect": CANCELED,
    "assistant-said-end-call-phrase": COMPLETED,
    "assistant-forwarded-call": COMPLETED,
    "assistant-request-returned-forwarding-phone-number": COMPLETED,
    "exceeded-max-duration": COMPLETED,
    "silence-timed-out": COMPLETED,
    "voicemail": COMPLETED,
    "vonage-completed": COMPLETED,
    "vonage-disconnected": COMPLETED,
    "phone-call-provider-closed-websocket": COMPLETED,
    "call.in-progress.twilio-completed-call": COMPLETED,
    "call.in-progress.sip-completed-call": COMPLETED,
    "call.forwarding.operator-busy": COMPLETED,
    "call.forwarding.no-answer": COMPLETED,
    "assistant-join-timed-out": FAILED,
    "twilio-reported-customer-misdialed": FAILED,
    "vonage-rejected": FAILED,
    "phone-call-provider-bypass-enabled-but-no-call-received": FAILED,
    "customer-did-not-give-microphone-permission": FAILED,
    "worker-shutdown": BROKEN,
}
UNCONNECTED: Final = ("failed-to-connect", "never-connected", "worker-not-available")
"""Parts of errors that mean that the call was never connected, in every phase that Vapi names."""
BEGINNINGS: Final[tuple[tuple[str, Ending], ...]] = (
    ("pipeline-error", BROKEN),
    ("call.in-progress.", BROKEN),
    ("customer-ended-call", COMPLETED),
    ("assistant-ended-call", COMPLETED),
    ("call.ending.hook-executed-", COMPLETED),
    ("call.ringing.hook-executed-", COMPLETED),
    ("call.start.", FAILED),
    ("call-start-error-", FAILED),
    ("assistant-request-", FAILED),
    ("assistant-not-", FAILED),
    ("sip-outbound-", FAILED),
)
OUTBOUND_SIP: Final = "outbound-sip-"
"""Before the SIP response code with which the callee's side refused an outbound call."""
_FAULTS: Final = ("error", "fault", "failed")


def ending(reason: str | None, started: bool) -> Ending:
    """How a call ended. `started` decides for a word without a fault that no table has."""
    word = reason or ""
    if (known := WORDS.get(word)) is not None:
        return known
    _, outbound_sip, response = word.partition(OUTBOUND_SIP)
    if outbound_sip:
        return Ending(status_of_sip(sip_code(response[:3]) or 0) or "failed", False)
    if any(part in word for part in UNCONNECTED):
        return FAILED
    for beginning, meant in BEGINNINGS:
        if word.startswith(beginning):
            return meant
    return COMPLETED if started and not any(fault in word for fault in _FAULTS) else FAILED

"""The form in which an event's payload is stored: without what the columns of its row say. Pure.

Most of a short payload repeats its organization, call and type, and names fields. Where these follow each
other in the usual order, one control character is stored in their place. JSON has no control characters but
white space. So no payload has them, and putting the text back returns the payload verbatim. The function
`callfold_payload` of the database does that.
"""

from typing import Final, NamedTuple

from shared.calls.event import Event


class _Spelling(NamedTuple):
    """The parts of a payload for which characters stand, as one way of writing JSON spells them."""

    envelope: str
    envelope_character: str
    mode: str
    mode_character: str


_COMPACT: Final = _Spelling(
    ',"type":"%s","organization_id":"%s","call_id":"%s","timestamp":"',
    "\x01",
    '","livemode":true,"data":',
    "\x02",
)
_SPACED: Final = _Spelling(
    ', "type": "%s", "organization_id": "%s", "call_id": "%s", "timestamp": "',
    "\x03",
    '", "livemode": true, "data": ',
    "\x04",
)


ENVELOPE_BYTES: Final = 200
"""More bytes than a stored payload leaves out."""


def stored_payload(event: Event) -> str:
    """The payload of an event as it is stored; whole if its fields are in another order. The values of `id`
    and `timestamp` always stay: `verify` compares them with their columns."""
    for spelling in (_COMPACT, _SPACED):
        envelope = spelling.envelope % (event.type, event.organization_id, event.call_id)
        before, found, rest = event.payload.partition(envelope)
        if found:
            rest = rest.replace(spelling.mode, spelling.mode_character, 1)
            return f"{before}{spelling.envelope_character}{rest}"
    return event.payload

"""Scenarios of SIPp: a caller and callees of every outcome.

The number that is called decides the outcome: its seventh digit is that of an `Outcome`, and its last three
are the code of a refusal.
"""

from enum import StrEnum
from typing import Final

OWN: Final = "acme.example"
FOREIGN: Final = "carrier.example"
PREFIX: Final = "+155501"
CALLER: Final = "+15550199"
REFUSALS: Final = {404: "Not Found", 480: "Temporarily Unavailable", 486: "Busy Here", 603: "Decline"}


class Outcome(StrEnum):
    """What the callee does."""

    REFUSES = "0"
    ANSWERS = "1"
    ANSWERS_AND_HANGS_UP = "2"
    RINGS = "3"
    ANSWERS_AND_VANISHES = "4"
    IS_BUSY_AT_FIRST = "5"


def number(outcome: Outcome, code: int = 200) -> str:
    """The number to call for this outcome."""
    return f"{PREFIX}{outcome}{code}"


def _scenario(*steps: str) -> str:
    return '<?xml version="1.0"?>\n<scenario name="calls">\n' + "\n".join(steps) + "\n</scenario>\n"


def _send(message: str, attributes: str = "") -> str:
    return f"<send {attributes}><![CDATA[\n\n{message.strip()}\nContent-Length: 0\n\n]]></send>"


def _caller(caller_domain: str, callee_domain: str, *steps: str) -> str:
    """A scenario of a caller, whose steps name the domains CALLER and CALLEE."""
    return _scenario(*steps).replace("@CALLER", f"@{caller_domain}").replace("@CALLEE", f"@{callee_domain}")


def _request(method: str, cseq: int, *route: str) -> str:
    """A request of the caller: within a call if it has a route."""
    uri = "[next_url]" if route else "sip:[service]@CALLEE"
    # The ACK of a refusal, and a CANCEL, have the branch of their INVITE.
    has_branch = bool(route) or method == "INVITE"
    has_tag = method not in ("INVITE", "CANCEL")
    return "\n".join(
        [
            f"{method} {uri} SIP/2.0",
            "Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]" if has_branch else "[last_Via:]",
            *route,
            f"From: <sip:{CALLER}@CALLER>;tag=[pid]c[call_number]",
            "To: <sip:[service]@CALLEE>" + ("[peer_tag_param]" if has_tag else ""),
            "Call-ID: [call_id]",
            f"CSeq: {cseq} {method}",
            "Contact: <sip:caller@[local_ip]:[local_port]>",
            "Max-Forwards: 70",
        ]
    )


_INVITE: Final = (
    _send(_request("INVITE", 1), 'retrans="500"'),
    '<recv response="100" optional="true"/>',
)
_MAY_RING: Final = '<recv response="180" optional="true"/>'
_ANSWERED: Final = (
    *_INVITE,
    _MAY_RING,
    '<recv response="200" rrs="true"/>',
    _send(_request("ACK", 1, "[routes]")),
)
_OK: Final = "\n".join(
    ["SIP/2.0 200 OK", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]"]
)


def hangs_up(caller_domain: str, callee_domain: str, talk_milliseconds: int) -> str:
    """A caller that hangs up after this time, with a Reason."""
    bye = _request("BYE", 2, "[routes]", 'Reason: Q.850;cause=16;text="Normal call clearing"')
    return _caller(
        caller_domain,
        callee_domain,
        *_ANSWERED,
        f'<pause milliseconds="{talk_milliseconds}"/>',
        _send(bye, 'retrans="500"'),
        '<recv response="200"/>',
    )


def is_hung_up_on(caller_domain: str, callee_domain: str) -> str:
    """A caller whose callee hangs up."""
    return _caller(caller_domain, callee_domain, *_ANSWERED, '<recv request="BYE"/>', _send(_OK))


def vanishes(caller_domain: str, callee_domain: str) -> str:
    """A caller that never hangs up."""
    return _caller(caller_domain, callee_domain, *_ANSWERED)


def is_refused(caller_domain: str, callee_domain: str, code: int) -> str:
    """A caller that is refused with this code."""
    return _caller(
        caller_domain,
        callee_domain,
        *_INVITE,
        _MAY_RING,
        f'<recv response="{code}"/>',
        _send(_request("ACK", 1)),
    )


def dials_nobody(caller_domain: str, callee_domain: str, code: int) -> str:
    """A caller whose request has no number, so that the proxy itself refuses it."""
    refused = is_refused(caller_domain, callee_domain, code)
    return refused.replace("INVITE sip:[service]@", "INVITE sip:")


def cancels(caller_domain: str, callee_domain: str, ring_milliseconds: int) -> str:
    """A caller that gives up after this time of ringing."""
    return _caller(
        caller_domain,
        callee_domain,
        *_INVITE,
        '<recv response="180"/>',
        f'<pause milliseconds="{ring_milliseconds}"/>',
        _send(_request("CANCEL", 1), 'retrans="500"'),
        '<recv response="200"/>',
        '<recv response="487"/>',
        _send(_request("ACK", 1)),
    )


def _reply(status: str, *, reliable: bool = False) -> str:
    return _send(
        "\n".join(
            [
                f"SIP/2.0 {status}",
                "[last_Via:]",
                "[last_Record-Route:]",
                "[last_From:]",
                "[last_To:];tag=[pid]u[call_number]",
                "[last_Call-ID:]",
                "[last_CSeq:]",
                "Contact: <sip:callee@[local_ip]:[local_port]>",
            ]
        ),
        'retrans="500"' if reliable else "",
    )


_CANCELED: Final = "\n".join(
    [
        "SIP/2.0 487 Request Terminated",
        "Via:[$via]",
        "Via:[$via_of_caller]",
        "From:[$from]",
        "To:[$to];tag=[pid]u[call_number]",
        "[last_Call-ID:]",
        "CSeq: 1 INVITE",
    ]
)
_BYE_OF_CALLEE: Final = "\n".join(
    [
        "BYE [next_url] SIP/2.0",
        "Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]",
        "[routes]",
        "From:[$to];tag=[pid]u[call_number]",
        "To:[$from]",
        "[last_Call-ID:]",
        "CSeq: 1 BYE",
        "Max-Forwards: 70",
    ]
)


def takes(talk_milliseconds: int, *, busy_at_first: bool) -> str:
    """Callees of every outcome. Those that hang up do so after this time. `IS_BUSY_AT_FIRST` is busy, or
    answers."""
    starts = {
        **{f"refuses_{code}": f"{Outcome.REFUSES}{code}" for code in REFUSALS},
        "hangs_up": f"{Outcome.ANSWERS_AND_HANGS_UP}[0-9]{{3}}",
        "rings": f"{Outcome.RINGS}[0-9]{{3}}",
        "vanishes": f"{Outcome.ANSWERS_AND_VANISHES}[0-9]{{3}}",
        "busy": f"{Outcome.IS_BUSY_AT_FIRST if busy_at_first else 'x'}[0-9]{{3}}",
    }
    found = "".join(
        f'<ereg regexp="55501{pattern}@" search_in="msg" check_it="false" assign_to="{name}"/>'
        for name, pattern in starts.items()
    )
    kept = "".join(
        f'<ereg regexp=".*" search_in="hdr" header="{header}:" occurrence="{nth}" check_it="true" '
        f'assign_to="{name}"/>'
        for header, nth, name in (
            ("Via", 1, "via"),
            ("Via", 2, "via_of_caller"),
            ("From", 1, "from"),
            ("To", 1, "to"),
        )
    )
    return _scenario(
        f'<recv request="INVITE" rrs="true"><action>{found}{kept}</action></recv>',
        *(f'<nop next="refuses_{code}" test="refuses_{code}"/>' for code in REFUSALS),
        '<nop next="refuses_486" test="busy"/>',
        _reply("180 Ringing"),
        '<nop next="rings" test="rings"/>',
        _reply("200 OK", reliable=True),
        '<recv request="ACK"/>',
        '<nop next="hangs_up" test="hangs_up"/>',
        '<nop next="end" test="vanishes"/>',
        '<recv request="BYE"/>',
        _send(_OK),
        '<nop next="end"/>',
        *(
            step
            for code, reason in REFUSALS.items()
            for step in (
                f'<label id="refuses_{code}"/>',
                _reply(f"{code} {reason}", reliable=True),
                '<recv request="ACK"/>',
                '<nop next="end"/>',
            )
        ),
        '<label id="rings"/>',
        '<recv request="CANCEL"/>',
        _send(_OK),
        # The proxy may pass 487 on before its own reply to the CANCEL.
        '<pause milliseconds="100"/>',
        _send(_CANCELED, 'retrans="500"'),
        '<recv request="ACK"/>',
        '<nop next="end"/>',
        '<label id="hangs_up"/>',
        f'<pause milliseconds="{talk_milliseconds}"/>',
        _send(_BYE_OF_CALLEE, 'retrans="500"'),
        '<recv response="200"/>',
        '<label id="end"/>',
        "<nop/>",
    )

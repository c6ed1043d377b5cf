"""SIP proxies: the records of Kamailio, OpenSIPS and Homer that belong to no published whole call."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest

from shared.dialects.registry import DIALECTS
from shared.sources.delivery import Delivery
from shared.sources.source import Source
from shared.sources.translate import Translation, translate

AT: Final = datetime(2026, 11, 24, 11, tzinfo=UTC)
SECOND: Final = 1795514405
"""2026-11-24T10:00:05Z."""
BAKERY, GARAGE = UUID(int=1), UUID(int=2)
ORGANIZATIONS: Final = {"bakery.example": BAKERY, "*.garage.example": GARAGE}
INVITE: Final = {
    "event": "request",
    "time": f"{SECOND}.5",
    "callid": "c",
    "method": "INVITE",
    "from": "sip:100@bakery.example",
    "to": "sip:200@trunk.example",
}
TRANSACTION: Final = {"method": "INVITE", "sip_code": "200", "callid": "c", "time": SECOND}
CDR: Final = {
    "start_time": f"{SECOND}.5",
    "end_time": f"{SECOND + 70}.25",
    "duration": "69.750",
    "callid": "c",
}


def _translate(
    dialect: str, value: Any, settings: Mapping[str, Any] | None = None, by: str | None = None
) -> Translation:
    source = Source(
        UUID(int=9),
        dialect,
        dialect,
        organizations=ORGANIZATIONS,
        organizations_by=by,
        settings=settings or {},
    )
    return translate(Delivery(json.dumps(value).encode(), AT), source, DIALECTS[dialect])


def _facts(*arguments: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, seconds after 10:00:05, and the data that is given, of each fact."""
    return [
        (
            placed.fact.type,
            f"{placed.fact.timestamp.timestamp() - SECOND:g}",
            {name: value for name, value in placed.fact.data.items() if value is not None},
        )
        for placed in _translate(*arguments).facts
    ]


def _organization(*arguments: Any) -> UUID | None:
    (placed,) = _translate(*arguments).facts
    return placed.organization


def _reason(*arguments: Any) -> str:
    translation = _translate(*arguments)
    assert not translation.facts
    return "; ".join([*translation.ignored, *(fault.reason for fault in translation.quarantined)])


@pytest.mark.parametrize(
    "time", [1795518005000, 1795518005000000, 1795518005000000000, "2026-11-24 11:00:05"]
)
def test_a_row_of_kamailios_table_has_local_time(time: Any) -> None:
    row = {"id": 7, **TRANSACTION, "time": time}
    assert _facts("kamailio", row, {"time_zone": "Europe/Berlin"}) == [("call.answered", "0", {})]
    assert "time_zone" in _reason("kamailio", row)


def test_a_row_with_names_in_upper_case_is_read() -> None:
    row = {name.upper(): value for name, value in TRANSACTION.items()}
    assert _facts("kamailio", row) == [("call.answered", "0", {})]


@pytest.mark.parametrize(
    ("change", "settings", "facts"),
    [
        ({}, {}, [("call.initiated", "0.5", {}), ("call.completed", "70.25", {})]),
        (
            {"answered": SECOND + 10},
            {},
            [
                ("call.initiated", "0.5", {}),
                ("call.answered", "10", {}),
                ("call.completed", "70.25", {"duration": 60}),
            ],
        ),
        (
            {},
            {"cdr_start": "answer"},
            [("call.answered", "0.5", {}), ("call.completed", "70.25", {"duration": 69})],
        ),
        ({"duration": "0.000"}, {}, [("call.initiated", "0.5", {}), ("call.completed", "70.25", {})]),
        (
            {"duration": "0", "code": "486"},
            {},
            [
                ("call.initiated", "0.5", {}),
                ("call.failed", "70.25", {"status": "busy", "hangup_cause": "SIP 486"}),
            ],
        ),
        (
            {"duration": 0.0},
            {},
            [("call.initiated", "0.5", {}), ("call.failed", "70.25", {"status": "failed"})],
        ),
    ],
)
def test_a_cdr_of_kamailio(change: dict[str, Any], settings: dict[str, Any], facts: list[Any]) -> None:
    assert _facts("kamailio", CDR | change, settings) == facts


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"callid": "123"}, "callid: '123' is not the Call-ID of a call."),
        ({"callid": "NON-UTF8"}, "callid: 'NON-UTF8' is not the Call-ID of a call."),
        ({"callid": None}, "callid: is missing."),
        ({"time": None}, "time: the time is missing."),
        ({"method": "CANCEL"}, "a CANCEL neither begins nor ends a call"),
        ({"event": "location:expired"}, "location:expired is not a step of a call"),
        ({"event": "failure", "code": 302}, "a reply 302 changes nothing"),
        ({"event": "failure", "code": 488, "to_tag": "t"}, "it is not the failure of a call's first INVITE"),
        ({"event": "failure", "code": "x"}, "code: 'x' is not a SIP response code."),
        (
            {"from": "sip:100@elsewhere.example"},
            "Neither 'elsewhere.example' nor 'trunk.example' is an own domain.",
        ),
    ],
)
def test_a_report_of_kamailio_without_facts(change: dict[str, Any], reason: str) -> None:
    assert _reason("kamailio", INVITE | change) == reason


def test_a_reply_without_a_dialog_is_an_answer() -> None:
    reply = INVITE | {"event": "reply", "code": 200, "to_tag": "t"}
    assert _facts("kamailio", reply) == [("call.answered", "0.5", {})]
    assert _reason("kamailio", reply | {"dlg_state": 3}) == "dialog:start reports the answer"


def test_an_own_domain_may_be_the_end_of_a_domain() -> None:
    call = INVITE | {"from": "sip:100@trunk.example", "to": "sip:200@north.garage.example:5060"}
    assert _organization("kamailio", call) == GARAGE
    assert _facts("kamailio", call)[0][2]["direction"] == "inbound"


def test_a_call_between_two_organizations_is_the_callers_and_its_bye_tells_neither() -> None:
    call = INVITE | {"to": "sip:200@north.garage.example"}
    assert _organization("kamailio", call) == BAKERY
    assert "direction" not in _facts("kamailio", call)[0][2]
    bye = INVITE | {"method": "BYE", "from": call["to"], "to": call["from"], "to_tag": "t"}
    assert _organization("kamailio", bye) is None
    dialog = {"event": "dialog:end", "dlg_callid": "c", "dlg_from": call["from"], "dlg_to": call["to"]}
    assert _organization("kamailio", bye | dialog) == BAKERY


def test_a_field_and_the_domain_may_both_name_the_organization() -> None:
    assert _organization("kamailio", INVITE | {"org": "*.garage.example"}, {}, "org,domain") == GARAGE
    assert _organization("kamailio", INVITE, {}, "org,domain") == BAKERY


def test_numbers_give_the_direction_where_domains_are_addresses() -> None:
    call = INVITE | {"from": "sip:100@192.0.2.1", "to": "sip:200@192.0.2.2", "org": "bakery.example"}
    (fact,) = _facts("kamailio", call, {"own_numbers": ["200"]}, "org")
    assert fact[2]["direction"] == "inbound"


@pytest.mark.parametrize(
    ("event", "parameters", "facts"),
    [
        ("E_ACC_EVENT", {}, [("call.answered", "0", {})]),
        ("E_ACC_EVENT", {"method": "BYE"}, [("call.completed", "0", {})]),
        ("E_ACC_EVENT", {"method": "MESSAGE"}, []),
        ("E_ACC_MISSED_EVENT", {"sip_code": "302", "created": SECOND, "setuptime": 1}, []),
        (
            "E_ACC_MISSED_EVENT",
            {"sip_code": "480"},
            [("call.failed", "0", {"status": "no_answer", "hangup_cause": "SIP 480"})],
        ),
        ("E_ACC_CDR", {"duration": 2}, []),
        ("E_DLG_STATE_CHANGED", {"old_state": 4, "new_state": 5}, [("call.completed", "3595", {})]),
        ("E_DLG_STATE_CHANGED", {"old_state": 2, "new_state": 5}, []),
        ("E_DLG_STATE_CHANGED", {"old_state": 2, "new_state": 9}, []),
        ("E_PIKE_BLOCKED", {}, []),
    ],
)
def test_an_event_of_opensips(event: str, parameters: dict[str, Any], facts: list[Any]) -> None:
    assert _facts("opensips", {"method": event, "params": TRANSACTION | parameters}) == facts


@pytest.mark.parametrize(
    ("header", "facts"),
    [
        (
            {"method": "INVITE", "from_user": "100", "from_domain": "bakery.example", "to_user": "200"},
            [("call.initiated", {"from_number": "100", "to_number": "200"})],
        ),
        ({"method": "INVITE", "to_tag": "t"}, []),
        ({"method": "180", "cseq": "1 INVITE"}, [("call.ringing", {})]),
        ({"method": "200", "cseq": "2 BYE"}, []),
        ({"method": "BYE"}, [("call.completed", {})]),
        ({"method": "ACK"}, []),
    ],
)
def test_a_message_that_homer_describes_without_a_copy(header: dict[str, Any], facts: list[Any]) -> None:
    capture = json.dumps({"payloadType": 1, "timeSeconds": SECOND, "timeUseconds": 7})
    row = {"sid": "c", "protocol_header": capture, "data_header": json.dumps(header)}
    assert [(type_, data) for type_, _, data in _facts("homer", row)] == facts
    assert all(placed.fact.timestamp.microsecond == 7 for placed in _translate("homer", row).facts)


def test_a_branch_of_a_forked_call_does_not_end_it() -> None:
    reply = "SIP/2.0 487 Request Terminated\r\nCSeq: 1 INVITE\r\ni: c\r\nReason: Q.850;cause=26\r\n\r\n"
    row = {"sid": "c", "create_date": "2026-11-24T10:00:05Z", "raw": reply}
    assert _reason("homer", row) == "another branch of the call was answered"
    ended = _facts("homer", row | {"raw": reply.replace("26", "31")})
    assert ended == [("call.failed", "0", {"status": "canceled", "hangup_cause": "SIP 487"})]


def test_a_capture_agent_may_name_the_organization() -> None:
    row = {
        "sid": "c",
        "protocol_header": {"captureId": "bakery.example", "timeSeconds": SECOND},
        "data_header": {"method": "BYE"},
    }
    assert _organization("homer", row, {}, "captureId") == BAKERY


def test_reports_of_media_are_ignored() -> None:
    assert _reason("homer", {"sid": "c", "protocol_header": {"payloadType": 5}}) == "it is not a SIP message"

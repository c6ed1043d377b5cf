"""Hangup causes: their spellings in events, and the names under which they are counted."""

import pytest

from shared.calls.hangup import CAUSES, EFFECTIVE, SPELLINGS, cause_index, spelled


@pytest.mark.parametrize(
    ("said", "counted_as"),
    [
        ("USER_BUSY", "USER_BUSY"),
        ("user_busy", "USER_BUSY"),
        ("17", "USER_BUSY"),
        ("SIP 486", "USER_BUSY"),
        ("sip:486", "USER_BUSY"),
        ("SIP_487", "ORIGINATOR_CANCEL"),
        ("MISSING_HANGUP", "MISSING_HANGUP"),
        (None, "NONE"),
        ("486", "OTHER"),
        ("User_Busy", "OTHER"),
        (" USER_BUSY", "OTHER"),
        ("", "OTHER"),
    ],
)
def test_a_cause_is_known_by_exact_spelling(said: str | None, counted_as: str) -> None:
    assert CAUSES[cause_index(said)] == counted_as


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("Normal Clearing", "NORMAL_CLEARING"),
        ("normal call clearing", "NORMAL_CLEARING"),
        ("No answer from user (user alerted)", "NO_ANSWER"),
        ("User_Busy", "USER_BUSY"),
        (" USER_BUSY", "USER_BUSY"),
        (" 16 ", "16"),
        ('Q.850;cause=16;text="Normal"', "16"),
        ("Cause: 17", "17"),
        ("SIP/2.0 486 Busy Here", "SIP 486"),
        ("SIP;cause=487", "SIP 487"),
        ("sip:486", "sip:486"),
        ("SIP 299", "SIP 299"),
        ("Q.850;cause=200", "Q.850;cause=200"),
        ("-1", "-1"),
        ("486", "486"),
        ("AGENT_DISCONNECT", "AGENT_DISCONNECT"),
        ("", ""),
    ],
)
def test_a_cause_in_other_words_is_brought_to_a_known_spelling(said: str, known: str) -> None:
    assert spelled(said) == known
    assert said == known or known in SPELLINGS


def test_the_indices_are_stored_and_stay() -> None:
    assert len(CAUSES) == len(set(CAUSES)) <= 80
    assert {
        name: CAUSES.index(name) for name in ("NONE", "OTHER", "UNALLOCATED_NUMBER", "NORMAL_CLEARING")
    } == {
        "NONE": 0,
        "OTHER": 1,
        "UNALLOCATED_NUMBER": 2,
        "NORMAL_CLEARING": 7,
    }
    assert CAUSES.index("INTERWORKING") == 52
    assert CAUSES.index("MISSING_HANGUP") == 67


def test_no_spelling_needs_an_escape() -> None:
    assert all(spelling.isascii() and spelling.isprintable() for spelling in SPELLINGS)
    assert not any(character in spelling for spelling in SPELLINGS for character in "'\\\"{}$")


def test_a_cause_of_the_network_is_not_effective() -> None:
    effective = {CAUSES[index] for index in EFFECTIVE}
    assert {"USER_BUSY", "NO_ANSWER", "CALL_REJECTED", "SUBSCRIBER_ABSENT"} <= effective
    assert not effective & {
        "NONE",
        "OTHER",
        "NORMAL_CIRCUIT_CONGESTION",
        "NO_ROUTE_DESTINATION",
        "MISSING_HANGUP",
    }

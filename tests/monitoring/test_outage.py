"""An outage is logged at its start and at its end, for any number of failed attempts in between."""

import logging
import re

import pytest

from shared.outage import Outage

log = logging.getLogger("callfold.tests")


def test_one_line_for_the_begin_and_one_for_the_end(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(log, "the printer can't be reached", "the printer prints again")

    outage.end()
    assert not outage.lasts
    outage.begin("connection refused")
    outage.begin("no answer")
    assert outage.lasts
    outage.end()
    outage.end()

    assert not outage.lasts
    begin, end = caplog.messages
    assert begin == "the printer can't be reached: connection refused"
    assert re.fullmatch(r"the printer prints again after \d+\.\d s", end)
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_the_next_outage_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(log, "away", "back")

    for _ in range(2):
        outage.begin("connection refused")
        outage.end()

    assert [message.partition(" ")[0] for message in caplog.messages] == ["away:", "back"] * 2


def test_each_reason_where_the_reasons_differ_for_the_reader(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(log, "waits", "found the topic", level=logging.INFO, each_reason=True)

    with caplog.at_level(logging.INFO):
        for reason in ("no broker", "no broker", "no topic", "no broker"):
            outage.begin(reason)
        outage.end()

    assert caplog.messages[:3] == ["waits: no broker", "waits: no topic", "waits: no broker"]
    assert [record.levelname for record in caplog.records] == ["INFO"] * 4

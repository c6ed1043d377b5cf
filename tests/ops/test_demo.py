"""The demo's screen, at any width of the terminal."""

from datetime import date
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from services.ops.demo import screen
from services.ops.demo.account import Account
from services.ops.demo.screen import STATUSES, Client, Customer, print_overview
from services.ops.demo.simulated_call import Outcome
from services.ops.demo.simulator import Record, organizations
from tests.support.events import NOON

CUSTOMERS = [Customer(one, "live", "test") for one in organizations(Random(1))]
NAMES = [one.organization.name for one in CUSTOMERS]
CALLS = 4_321


class Answers(Client):
    """The API, with many calls of each status."""

    def __init__(self) -> None:
        """Opens no connection."""

    async def stats(self, key: str) -> dict[str, Any]:
        return _answer() | {"total_duration": 600, "total_cost": Decimal("1234567.8")}

    async def recent_trends(self, key: str) -> dict[str, Any]:
        return {"data": [_answer() | {"date": "2026-11-24", "duration": 600, "cost": Decimal("0.4")}]}


def _answer() -> dict[str, Any]:
    return {"total": CALLS * len(STATUSES), "by_status": dict.fromkeys(STATUSES, CALLS)}


@pytest.mark.parametrize("width", [80, 100, 119, 120, 121, 122, 123, 124, 125, 200])
async def test_no_row_breaks_at_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setattr(screen, "console", lambda: Console(highlight=False, width=width))
    await print_overview(Answers(), CUSTOMERS)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(tuple(NAMES))] == lines[2 : 2 + len(NAMES)]
    assert all(len(line.rstrip()) <= width for line in lines)
    if width == 200:
        assert lines[1].split()[-3:] == ["minutes", "cost", "¢"]
        assert lines[2].split()[-2:] == ["10", "1234568"]
    if width == 80:
        assert "minutes" not in lines[1]


def test_the_account_counts_test_calls_separately() -> None:
    account = Account()
    for number, livemode in enumerate([True, False, True]):
        outcome = Outcome(UUID(int=1), livemode, date(2026, 11, 24), None, "busy", False, 0, Decimal(0))
        account.delivered(Record(NOON, b"", b"", (), outcome=outcome), 0, number)
    assert (account.calls, account.test_calls) == (3, 1)

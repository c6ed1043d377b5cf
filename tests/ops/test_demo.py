"""The demo's screen at any width of the terminal, its accounts, its sources, the vendor's requests, and its
followers."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import httpx
import pytest
from rich.console import Console

from services.ops.demo import followers, screen
from services.ops.demo.account import Account, Quarantined, off_calls, totals_of
from services.ops.demo.attached_systems import attach_systems
from services.ops.demo.followers import Arrival, Follower, arrival, until_published, webhook_follower
from services.ops.demo.posting import post
from services.ops.demo.result import Result, result_json
from services.ops.demo.screen import STATUSES, Client, Customer, print_overview
from services.ops.demo.simulated_call import Outcome
from services.ops.demo.simulator import Record, organizations
from services.ops.demo.traffic import Producers
from services.ops.embedded.state import Ports, State
from services.ops.proof.proof import Proof
from services.ops.sources.secret_keys import secret_box
from services.ops.sources.stored import enable_source
from services.ops.terminal.failure import Failure
from shared.calls.event import Status
from shared.database.connection import Connection
from shared.encoding import encode
from shared.secret_box import SecretBox
from shared.store.sources import read_sources
from shared.webhooks.signing import signed_headers
from tests.support.events import CALL, NOON, ORGANIZATION, event
from tests.support.storing import stored

CUSTOMERS = [Customer(one, "live", "test") for one in organizations(Random(1))]
NAMES = [one.organization.name for one in CUSTOMERS]
CALLS = 4_321
DAY = date(2026, 11, 24)
PRODUCERS = Producers(
    Account("native producer", calls=1_234_567, records=7_654_321, distinct=7_600_000, events=7_600_000),
    Account("SIP proxy (Kamailio)", calls=500, records=2_000, distinct=1_950, events=1_950),
    Account("vendor's webhooks (Twilio)", calls=100, records=190, distinct=180, events=250),
)


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
    await print_overview(Answers(), CUSTOMERS, PRODUCERS)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(tuple(NAMES))] == lines[2 : 2 + len(NAMES)]
    assert all(len(line.rstrip()) <= width for line in lines)
    if width == 200:
        assert lines[1].split()[-3:] == ["minutes", "cost", "¢"]
        assert lines[2].split()[-2:] == ["10", "1234568"]
    if width == 80:
        assert "minutes" not in lines[1]
    producers = {line[: len(one.producer)]: line.split() for one in PRODUCERS for line in lines}
    for one in PRODUCERS:
        calls = producers[one.producer][len(one.producer.split())]
        assert calls == str(one.calls)


def test_the_account_counts_test_calls_separately() -> None:
    account = Account()
    for number, livemode in enumerate([True, False, True]):
        outcome = Outcome(UUID(int=1), livemode, DAY, None, "busy", False, 0, Decimal(0))
        account.delivered(Record(NOON, b"", b"", (), outcome=outcome), 0, number)
    assert (account.calls, account.test_calls) == (3, 1)


def test_the_totals_of_several_producers_are_added() -> None:
    accounts = [Account(), Account()]
    statuses: list[Status] = ["busy", "completed"]
    for account, status in zip(accounts, statuses, strict=True):
        outcome = Outcome(
            ORGANIZATION, True, DAY, "inbound", status, status == "completed", 30, Decimal("0.5")
        )
        account.accepted(Record(NOON, b"", b"", (), outcome=outcome))
    (totals,) = totals_of(accounts).values()
    assert totals.by_status == {"busy": 1, "completed": 1}
    assert totals.by_direction == {"inbound": 2}
    assert totals.by_day == {DAY: 2}
    assert (totals.answered, totals.duration, totals.cost) == (1, 60, Decimal(1))


async def test_a_call_that_differs_from_its_outcome_is_found(database: Connection) -> None:
    account = Account(keeps_outcomes=True)
    for call_id, duration in (("exact", 60), ("shorter", 61), ("missing", 60)):
        outcome = Outcome(ORGANIZATION, True, DAY, None, "completed", True, duration)
        account.accepted(Record(NOON, call_id.encode(), b"", (), outcome=outcome))
    ends = [event("call.completed", call_id=one, duration=60) for one in ("exact", "shorter")]
    await stored(database, *ends)
    off = await off_calls(database, account)
    assert [phrase.partition(" is ")[2] for phrase in off] == [
        "None completed on 2026-11-24, 60 s, 0 ¢, must be None completed on 2026-11-24, 61 s, 0 ¢",
        "missing, must be None completed on 2026-11-24, 60 s, 0 ¢",
    ]


REQUEST = Record(NOON, b"CA1", b"CallSid=CA1", (("x-twilio-signature", b"c2lnbmVk"),))


async def test_the_vendor_repeats_a_request_until_the_receiver_accepts_it() -> None:
    seen: list[tuple[bytes, str]] = []
    answers = iter([503, 500, None, 200])

    def receiver(request: httpx.Request) -> httpx.Response:
        seen.append((request.content, request.headers["x-twilio-signature"]))
        status = next(answers)
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)

    accepted: list[Record] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as client:
        await post(client, "http://receiver/hooks/1", [REQUEST], accepted.append)
    assert seen == [(b"CallSid=CA1", "c2lnbmVk")] * 4
    assert accepted == [REQUEST]


async def test_a_refused_request_ends_the_demo() -> None:
    def receiver(_: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text="The signature is wrong.")

    async with httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as client:
        with pytest.raises(Failure, match=r"answered 403: The signature is wrong\."):
            await post(client, "http://receiver/hooks/1", [REQUEST], lambda _: None)


def test_the_result_names_the_three_producers_for_scripts() -> None:
    proof = Proof(NOON, 1, 1, 1, 0, 0, (), 0)
    quarantine = [Quarantined("empty", "no value", 1, 1)]
    result = Result(PRODUCERS, 3, 1.23456, quarantine, proof, [Arrival("webhook", "call.completed", 54)], [])
    wire = result_json(result)
    assert wire["exact"] is True
    assert [(one["producer"], one["calls"]) for one in wire["producers"]] == [
        (one.producer, one.calls) for one in PRODUCERS
    ]
    assert wire["arrivals"] == [Arrival("webhook", "call.completed", 54)]
    assert result_json(replace(result, off=["a call is missing"]))["exact"] is False


async def test_another_run_uses_the_sources_of_the_first_one(
    database: Connection, bootstrap: str, tmp_path: Path
) -> None:
    stack = State(tmp_path, Ports(1, int(bootstrap.rpartition(":")[2]), 3, 4, 5, receiver=6), "password")
    first = await attach_systems(database, stack, organizations(Random(1)))
    await enable_source(database, first.vendor, enabled=False)
    second = await attach_systems(database, stack, organizations(Random(2)))
    found = await read_sources(database, secret_box(tmp_path))
    assert [(one.source, one.enabled) for one in found] == [(second.proxy, True), (second.vendor, True)]
    for before, after in ((first.proxy, second.proxy), (first.vendor, second.vendor)):
        assert (after.id, after.secrets, after.topic) == (before.id, before.secrets, before.topic)
        assert len(after.organizations) == 2 * len(before.organizations)
    assert second.hook_url == f"http://127.0.0.1:6/hooks/{first.vendor.id}"


CALL_DATA = {"type": "call.completed", "timestamp": NOON, "data": {"id": CALL, "status": "completed"}}


def stack_in(directory: Path) -> State:
    return State(directory, Ports(1, 2, 3, 4, 5), "password")


async def test_an_arrival_has_the_time_since_the_call_was_published(tmp_path: Path) -> None:
    async def hear() -> str:
        return "the call, completed"

    follower = Follower("topic calls", "publisher", hear)
    heard = await arrival(follower, stack_in(tmp_path), time.monotonic() - 0.25)
    assert (heard.follower, heard.what) == ("topic calls", "the call, completed")
    assert heard.milliseconds is not None
    assert heard.milliseconds >= 250


async def test_a_follower_that_hears_nothing_names_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(followers, "ARRIVAL_SECONDS", 0.01)
    waiting = Follower("GET /calls/stream", "api", asyncio.Event().wait)  # type: ignore[arg-type]
    heard = await arrival(waiting, stack_in(tmp_path), time.monotonic())
    reason = f"the call did not arrive within 0.01 s. See {tmp_path}/logs/api.log"
    assert heard == Arrival("GET /calls/stream", reason, None)


async def test_changes_that_are_not_published_end_the_demo(
    monkeypatch: pytest.MonkeyPatch, database: Connection, tmp_path: Path
) -> None:
    monkeypatch.setattr(followers, "SECONDS_WITHOUT_PROGRESS", 0.01)
    await until_published(database, stack_in(tmp_path))
    await database.execute("INSERT INTO call_changes (organization_ids, call_ids) VALUES ('{}', '{}')")
    with pytest.raises(Failure, match=r"The publisher published nothing for 0\.01 s, while changes of calls"):
        await until_published(database, stack_in(tmp_path))


async def post_message(database: Connection, box: SecretBox, wrongly: bytes = b"") -> int:
    """Posts a message about the call to the only webhook. `wrongly` is added after it was signed."""
    row = await database.fetchrow("SELECT url, secrets FROM webhooks")
    assert row is not None
    body = encode(CALL_DATA)
    headers = signed_headers("msg_1", body, datetime.now(UTC), [box.decrypted(row["secrets"])["current"]])
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(row["url"], content=body + wrongly, headers=dict(headers))).status_code


async def test_the_webhook_verifies_signatures_and_is_removed(database: Connection, tmp_path: Path) -> None:
    stack, box = stack_in(tmp_path), secret_box(tmp_path)
    async with webhook_follower(database, stack, ORGANIZATION, CALL) as follower:
        assert await post_message(database, box) == 204
        assert await follower.hear() == "call.completed, signature verified"
    async with webhook_follower(database, stack, ORGANIZATION, UUID(int=7)) as follower:
        assert await post_message(database, box) == 204, "about another call"
        assert await post_message(database, box, wrongly=b" ") == 401
        with pytest.raises(Failure, match="the message's signature is wrong"):
            await follower.hear()
    assert await database.fetchval("SELECT count(*) FROM webhooks") == 0


async def test_the_webhook_names_the_reason_of_a_failed_delivery(
    database: Connection, tmp_path: Path
) -> None:
    async with webhook_follower(database, stack_in(tmp_path), ORGANIZATION, CALL) as follower:
        for (webhook,) in await database.fetch("SELECT id FROM webhooks"):
            await database.execute(_MESSAGE, ORGANIZATION)
            await database.execute(_FAILED, ORGANIZATION, webhook)
        with pytest.raises(Failure, match=r"the delivery failed: No connection\."):
            await follower.hear()


_MESSAGE = "INSERT INTO webhook_messages (organization_id, id, type, body) VALUES ($1, 'msg_1', 'x', '')"
_FAILED = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, message_id, attempts, error)
VALUES ($1, $2, 'msg_1', 1, 'No connection.')
"""

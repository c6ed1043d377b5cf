"""Webhooks as processes, on a real database and with real endpoints: each change arrives at least once."""

import asyncio
import signal
import ssl
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import trustme
from aiohttp import web

from shared.database.connection import Connection
from shared.secret_box import SecretBox
from shared.store.delete import delete
from shared.store.webhook_deliveries import send_again, send_test
from shared.store.webhooks import Webhook, change_webhook, rotate_secret
from tests.publisher.conftest import StartPublisher
from tests.support.events import CALL, NOON, ORGANIZATION, event
from tests.support.ingesting import call, keyed
from tests.support.pipeline import Pipeline
from tests.support.processes import until
from tests.support.storing import stored
from tests.support.webhook_receiver import (
    Answering,
    WebhookReceiver,
    accepting,
    failing,
    gone,
    never,
    redirecting,
    resetting,
    slow_after_success,
    webhook_receiver,
)
from tests.webhooks.conftest import AddWebhook, StartWebhooks


async def delivery(database: Connection) -> asyncpg.Record:
    """The only delivery."""
    (row,) = await database.fetch("SELECT * FROM webhook_deliveries")
    return row


async def due_now(database: Connection) -> None:
    """Makes waiting deliveries due, which otherwise takes minutes to days."""
    await database.execute("UPDATE webhook_deliveries SET due_at = now() WHERE due_at IS NOT NULL")
    await database.execute("NOTIFY callfold_webhooks")


async def try_out(database: Connection, webhook: Webhook) -> None:
    async with database.transaction():
        await send_test(database, webhook, NOON)


async def told(database: Connection, webhook: Webhook) -> None:
    """Stores a message about a call. Unlike a test, it is sent again after a failure."""
    await try_out(database, webhook)
    await database.execute("UPDATE webhook_messages SET type = 'call.updated'")


async def publishing(database: Connection, start_publisher: StartPublisher) -> None:
    """Starts a publisher, and waits until the outbox has every change."""
    start_publisher()

    async def leads() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM publisher WHERE all_after_call IS NULL"))

    await until(leads, "the publisher to lead")


def until_told(receiver: WebhookReceiver, *types: str) -> Any:
    async def told() -> bool:
        return sorted(receiver.types()) == sorted(types)

    return until(told, f"{', '.join(types)}, and not {receiver.types()}")


async def test_an_organization_is_told_of_its_calls(
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_publisher: StartPublisher,
    start_webhooks: StartWebhooks,
) -> None:
    await publishing(database, start_publisher)
    await add_webhook(receiver)
    start_webhooks()

    await stored(database, event("call.initiated", from_number="+4930123"))
    await until_told(receiver, "call.initiated")
    await stored(database, event("call.answered", id="evt_2"))
    await until_told(receiver, "call.initiated", "call.answered")
    await stored(database, event("call.completed", id="evt_3", duration=60, cost="1.50"))
    await until_told(receiver, "call.initiated", "call.answered", "call.completed")
    await delete(database, ORGANIZATION, CALL, livemode=True, actor="test")
    await until_told(receiver, "call.initiated", "call.answered", "call.completed", "call.deleted")

    first, *_, completed, deleted = receiver.told.values()
    assert first["data"]["from_number"] == "+4930123"
    assert (completed["data"]["duration"], completed["data"]["cost"]) == (60, 1.5)
    assert deleted["data"] == {"id": str(CALL), "organization_id": str(ORGANIZATION), "livemode": True}
    kept = await database.fetch("SELECT type FROM webhook_messages")
    assert [row["type"] for row in kept] == ["call.deleted"], "nothing of the call stays"


async def test_a_webhook_gets_the_types_and_the_mode_that_it_asks_for(
    database: Connection,
    add_webhook: AddWebhook,
    start_publisher: StartPublisher,
    start_webhooks: StartWebhooks,
) -> None:
    await publishing(database, start_publisher)
    async with webhook_receiver() as ends, webhook_receiver() as of_tests, webhook_receiver() as neighbour:
        await add_webhook(ends, ("call.completed", "call.failed"))
        await add_webhook(of_tests, livemode=False)
        await add_webhook(neighbour, organization_id=UUID(int=7))
        start_webhooks()
        test_call = UUID(int=5)
        await stored(database, event("call.initiated", livemode=False, call_id=test_call))
        await stored(database, event("call.initiated"))
        await stored(database, event("call.completed", id="evt_2", duration=1))
        await until_told(ends, "call.completed")
        await until_told(of_tests, "call.initiated")
        assert [message["data"]["id"] for message in of_tests.told.values()] == [str(test_call)]
        assert neighbour.told == {}


FAILURES: list[tuple[Answering, int | None, str]] = [
    (failing, 500, "It has answered 500."),
    (never, None, "It has not answered within 1 s."),
    (resetting, None, "It has closed the connection without an answer."),
    (redirecting, 307, "It has answered 307. Redirects are not followed."),
]


@pytest.mark.parametrize(("answering", "status", "error"), FAILURES)
async def test_a_failed_message_is_sent_again(
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
    answering: Answering,
    status: int | None,
    error: str,
) -> None:
    receiver.answering = answering
    webhook = await add_webhook(receiver)
    await told(database, webhook)
    start_webhooks()

    async def failed() -> bool:
        return bool((await delivery(database))["attempts"])

    await until(failed, "the first attempt")
    row = await delivery(database)
    assert (row["answer_status"], row["error"]) == (status, error)
    assert len(row["answer_body"] or "") <= 1024
    assert 60 <= (row["due_at"] - row["attempted_at"]).total_seconds() <= 72
    assert await database.fetchval("SELECT failing_since FROM webhooks") == row["attempted_at"]

    receiver.answering = accepting
    await due_now(database)
    await until_told(receiver, "webhook.test")

    async def delivered() -> bool:
        return (await delivery(database))["delivered_at"] is not None

    await until(delivered, "the delivery to be noted")
    row = await delivery(database)
    assert (row["attempts"], row["due_at"], row["error"]) == (2, None, None)
    assert await database.fetchval("SELECT failing_since FROM webhooks") is None


async def test_a_test_is_sent_once(
    database: Connection, receiver: WebhookReceiver, add_webhook: AddWebhook, start_webhooks: StartWebhooks
) -> None:
    receiver.answering = failing
    webhook = await add_webhook(receiver)
    start_webhooks()
    await try_out(database, webhook)

    async def given_up() -> bool:
        return (await delivery(database))["due_at"] is None

    await until(given_up, "the only attempt")
    assert (await delivery(database))["attempts"] == 1


async def test_a_fault_that_no_rule_expects_ends_the_process(
    database: Connection, receiver: WebhookReceiver, add_webhook: AddWebhook, start_webhooks: StartWebhooks
) -> None:
    await try_out(database, await add_webhook(receiver))
    await database.execute(r"UPDATE webhook_messages SET body = '\xff'")
    process = start_webhooks()
    await until(lambda: not process.running, "the process to end")
    assert process.exit_status != 0
    assert process.said("an attempt failed in a way that is not expected")


async def test_a_success_counts_although_its_body_never_ends(
    database: Connection, receiver: WebhookReceiver, add_webhook: AddWebhook, start_webhooks: StartWebhooks
) -> None:
    receiver.answering = slow_after_success
    webhook = await add_webhook(receiver)
    start_webhooks()
    await try_out(database, webhook)

    async def delivered() -> bool:
        return (await delivery(database))["delivered_at"] is not None

    await until(delivered, "the delivery to be noted")
    row = await delivery(database)
    assert row["error"] is None
    assert set(row["answer_body"]) == {"x"}
    assert len(row["answer_body"]) <= 1024


async def test_a_delivery_is_given_up_after_the_last_attempt_and_can_be_sent_again(
    database: Connection, receiver: WebhookReceiver, add_webhook: AddWebhook, start_webhooks: StartWebhooks
) -> None:
    receiver.answering = failing
    webhook = await add_webhook(receiver)
    await told(database, webhook)
    await database.execute("UPDATE webhook_deliveries SET attempts = 7")
    start_webhooks()

    async def given_up() -> bool:
        return (await delivery(database))["due_at"] is None

    await until(given_up, "the delivery to be given up")
    row = await delivery(database)
    assert (row["attempts"], row["delivered_at"]) == (8, None)

    receiver.answering = accepting
    async with database.transaction():
        await send_again(database, webhook, row["id"])
    await until_told(receiver, "webhook.test")


@pytest.mark.parametrize(
    ("failing_since", "answering", "reason"),
    [
        ("now() - interval '6 days'", failing, "It has failed at each attempt for 5 days."),
        ("NULL", gone, "It has answered 410: it wants no further messages."),
    ],
)
async def test_an_endpoint_that_fails_for_days_or_is_gone_is_disabled(
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
    failing_since: str,
    answering: Answering,
    reason: str,
) -> None:
    receiver.answering = answering
    webhook = await add_webhook(receiver)
    await database.execute(f"UPDATE webhooks SET failing_since = {failing_since}")  # noqa: S608
    process = start_webhooks()
    await try_out(database, webhook)

    async def disabled() -> bool:
        return not await database.fetchval("SELECT enabled FROM webhooks")

    await until(disabled, "the webhook to be disabled")
    assert await database.fetchval("SELECT disabled_reason FROM webhooks") == reason
    audited = await database.fetchrow("SELECT * FROM audit_log WHERE action = 'webhook disabled'")
    assert audited is not None
    assert (audited["actor"], audited["subject"]) == ("callfold webhooks", str(webhook.id))
    await until(lambda: _said(process, f"disabled the webhook {webhook.id}: "), "the log line")


async def _said(process: Any, text: str) -> bool:
    return bool(process.said(text))


async def test_an_address_that_is_not_public_is_refused_when_the_connection_is_made(
    database: Connection, receiver: WebhookReceiver, add_webhook: AddWebhook, start_webhooks: StartWebhooks
) -> None:
    """Its name server may say anything: the address decides."""
    receiver.url = receiver.url.replace("http://127.0.0.1", "https://localhost")
    webhook = await add_webhook(receiver)
    start_webhooks(webhook_networks="10.0.0.0/8")
    await try_out(database, webhook)

    async def refused() -> bool:
        return (await delivery(database))["error"] is not None

    await until(refused, "the attempt")
    error = (await delivery(database))["error"]
    assert error.startswith("No connection: ")
    assert error.endswith(" is not public, and is in no network of CALLFOLD_WEBHOOK_NETWORKS.")
    assert receiver.attempts == 0


async def test_tls_is_verified(
    database: Connection,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    trusted, other = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def context(ca: trustme.CA, name: str) -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert(name).configure_cert(made)
        return made

    async with (
        webhook_receiver(context(trusted, "127.0.0.1")) as right,
        webhook_receiver(context(other, "127.0.0.1")) as of_a_stranger,
        webhook_receiver(context(trusted, "10.0.0.1")) as of_another_name,
    ):
        start_webhooks()
        for receiver in (of_a_stranger, of_another_name):
            await try_out(database, await add_webhook(receiver))
        await try_out(database, await add_webhook(right))
        await until_told(right, "webhook.test")

        async def refused() -> bool:
            return bool(await database.fetchval("SELECT count(error) = 2 FROM webhook_deliveries"))

        await until(refused, "the attempts at the others")
        errors = await database.fetch("SELECT error FROM webhook_deliveries WHERE error IS NOT NULL")
        assert all(row["error"].startswith("Its certificate is not accepted: ") for row in errors), errors
        assert (of_a_stranger.attempts, of_another_name.attempts) == (0, 0)


async def test_after_a_rotation_both_secrets_verify(
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
    secrets_key: str,
) -> None:
    webhook = await add_webhook(receiver)
    old = receiver.secret
    async with database.transaction():
        now = await database.fetchval("SELECT now()")
        _, new = await rotate_secret(database, SecretBox([secrets_key]), webhook, now, "test")
    start_webhooks()
    for secret in (old, new):
        receiver.secret = secret
        receiver.told.clear()
        await try_out(database, webhook)
        await until_told(receiver, "webhook.test")
    assert receiver.attempts == 2


async def test_an_endpoint_that_does_not_answer_holds_up_no_other(
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
) -> None:
    async with webhook_receiver() as stuck:
        stuck.answering = never
        slow = await add_webhook(stuck)
        async with database.transaction():
            for _ in range(50):
                await send_test(database, slow, NOON)
        start_webhooks(webhook_timeout_seconds="60", webhook_connections="4")
        await until(lambda: _attempted(stuck), "the endpoint to be tried")
        webhook = await add_webhook(receiver)
        for _ in range(20):
            await try_out(database, webhook)
        await until_told(receiver, *20 * ["webhook.test"])
        assert stuck.attempts <= 3


async def test_large_messages_to_a_slow_endpoint_hold_up_no_other(
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
) -> None:
    async with webhook_receiver() as stuck:
        stuck.answering = never
        slow = await add_webhook(stuck)
        async with database.transaction():
            for _ in range(40):
                await send_test(database, slow, NOON)
            await database.execute(
                "UPDATE webhook_messages SET body = convert_to(repeat('x', 1000000), 'UTF8')"
            )
        start_webhooks(webhook_timeout_seconds="60")
        await until(lambda: _attempted(stuck), "the endpoint to be tried")
        await try_out(database, await add_webhook(receiver))
        await until_told(receiver, "webhook.test")


async def test_a_disabled_webhook_gets_nothing_more(
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
) -> None:
    async with webhook_receiver() as slow:
        answers = asyncio.Event()

        async def answering(request: web.Request) -> web.StreamResponse:
            await answers.wait()
            return await accepting(request)

        slow.answering = answering
        webhook = await add_webhook(slow)
        async with database.transaction():
            for _ in range(20):
                await send_test(database, webhook, NOON)
        start_webhooks(webhook_timeout_seconds="60", webhook_connections_per_endpoint="1")
        await until(lambda: _attempted(slow), "the first of 20 messages")
        async with database.transaction():
            await change_webhook(database, webhook, enabled=False, actor="test")
        await try_out(database, await add_webhook(receiver))
        await until_told(receiver, "webhook.test")

        answers.set()
        await try_out(database, await add_webhook(receiver))
        await until(lambda: len(receiver.arrivals) == 2, "a later message")
        assert slow.attempts == 1


async def _attempted(receiver: WebhookReceiver) -> bool:
    return receiver.attempts > 0


async def test_nothing_is_lost_when_processes_are_killed_and_suspended(
    pipeline: Pipeline,
    database: Connection,
    receiver: WebhookReceiver,
    add_webhook: AddWebhook,
    start_publisher: StartPublisher,
    start_webhooks: StartWebhooks,
) -> None:
    await publishing(database, start_publisher)
    publisher = start_publisher()
    await add_webhook(receiver)
    first, second = start_webhooks(), start_webhooks()
    pipeline.start()
    for round_ in range(4):
        values = [value for n in range(25) for value in call(25 * round_ + n)]
        await pipeline.publish(keyed(values))
        match round_:
            case 0:
                first.kill()
                first = start_webhooks()
            case 1:
                publisher.kill()
                publisher = start_publisher()
            case 2:
                second.send(signal.SIGSTOP)
            case 3:
                second.send(signal.SIGCONT)
    await pipeline.consumed()

    async def all_delivered() -> bool:
        left = await database.fetchval(
            "SELECT (SELECT count(*) FROM call_changes) + count(*) FROM webhook_deliveries "
            "WHERE delivered_at IS NULL"
        )
        return bool(left == 0)

    await until(all_delivered, "every message to be delivered")
    stored_calls = {str(row["id"]): row["revision"] for row in await database.fetch("SELECT * FROM calls")}
    assert len(stored_calls) == 100
    for type_ in ("call.initiated", "call.answered", "call.completed"):
        told = [m["data"]["id"] for m in receiver.told.values() if m["type"] == type_]
        assert sorted(told) == sorted(stored_calls), f"{type_}, each once by id"
    assert len(receiver.arrivals) >= len(receiver.told)

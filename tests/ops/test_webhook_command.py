"""`callfold webhook`: endpoints as an operator manages them."""

from uuid import UUID, uuid4

import pytest

from shared.database.connection import Connection
from tests.support import seed
from tests.support.command_line import Done, callfold
from tests.support.processes import until
from tests.support.webhook_receiver import failing, webhook_receiver
from tests.webhooks.conftest import StartWebhooks, secrets_key, start_webhooks

__all__ = ["secrets_key", "start_webhooks"]


@pytest.fixture
async def organization_id(database: Connection) -> UUID:
    return (await seed.tenant(database)).id


class Operator:
    """Runs commands with the settings of these tests."""

    def __init__(self, **settings: str) -> None:
        self._settings = settings

    async def __call__(self, *words: str | UUID, **settings: str) -> Done:
        return await callfold("webhook", *words, **{**self._settings, **settings})


@pytest.fixture
def webhook(database_url: str, secrets_key: str) -> Operator:
    return Operator(database_url=database_url, secrets_key=secrets_key, webhook_networks="127.0.0.0/8")


async def added(webhook: Operator, organization_id: UUID, url: str, *more: str) -> tuple[UUID, str]:
    """A new webhook: its id and its secret."""
    done = await webhook("add", url, "--organization", organization_id, "--json", *more)
    assert done.status == 0, done.failure
    return UUID(done.json["id"]), done.json["secret"]


async def test_a_webhook_from_its_creation_to_its_removal(
    database: Connection, organization_id: UUID, webhook: Operator, start_webhooks: StartWebhooks
) -> None:
    start_webhooks()
    async with webhook_receiver() as receiver:
        done = await webhook("add", receiver.url, "--organization", organization_id, "--type", "call.failed")
        receiver.secret = done.output.strip()
        assert receiver.secret.startswith("whsec_")
        assert "Store the secret now" in done.errors
        listed = (await webhook("list", "--organization", organization_id, "--json")).json
        id_ = listed[0]["id"]
        assert (listed[0]["types"], listed[0]["livemode"]) == (["call.failed"], True)

        assert (await webhook("test", id_)).output == "Delivered. The endpoint has answered 204.\n"

        receiver.secret = (await webhook("rotate", id_)).output.strip()
        receiver.answering = failing
        refused = await webhook("test", id_)
        assert refused.status == 1
        assert refused.failure.startswith(
            "The message was not delivered. It has answered 500. Its answer begins: out of order"
        )
        failed = (await webhook("deliveries", id_, "--only", "failed", "--json")).json
        assert [(one["attempts"], one["answer_status"]) for one in failed] == [(1, 500)]
        shown = (await webhook("show", id_)).output
        assert receiver.url in shown
        assert "It has answered 500." in shown
        assert "whsec_" not in shown

        assert (await webhook("disable", id_)).status == 0
        assert "is disabled" in (await webhook("test", id_)).failure
        assert (await webhook("enable", id_)).status == 0
        assert (await webhook("remove", id_)).status == 0
        assert (await webhook("list", "--organization", organization_id, "--json")).json == []
        assert await database.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
    audited = await database.fetch("SELECT action FROM audit_log WHERE subject = $1 ORDER BY at", str(id_))
    assert [row["action"] for row in audited] == [
        "webhook created",
        "webhook secret rotated",
        "webhook disabled",
        "webhook enabled",
        "webhook removed",
    ]


async def test_a_delivery_is_sent_again(
    organization_id: UUID, webhook: Operator, start_webhooks: StartWebhooks
) -> None:
    start_webhooks()
    async with webhook_receiver() as receiver:
        id_, receiver.secret = await added(webhook, organization_id, receiver.url)
        assert (await webhook("test", id_)).status == 0
        (delivery,) = (await webhook("deliveries", id_, "--json")).json
        assert (await webhook("resend", id_, str(delivery["id"]))).status == 0
        await until(lambda: len(receiver.arrivals) == 2, "the message to arrive again")
        assert len(receiver.told) == 1, "the same id"
        assert (await webhook("resend", id_, "999")).failure == f"The webhook {id_} has no delivery 999."


async def test_what_is_refused(organization_id: UUID, webhook: Operator, database: Connection) -> None:
    to = ("--organization", organization_id)
    for url, sentence in {
        "http://example.com/": "URL must begin with https://, not 'http://example.com/'.",
        "https://10.1.2.3/": "URL must lead to a public address with https://, or to a network that the "
        "operator has allowed, not 'https://10.1.2.3/'.",
        "example.com": "URL must be a URL such as https://example.com/callfold: with a host name or an IPv4 "
        "address, without a user, a password and a fragment, not 'example.com'.",
    }.items():
        assert (await webhook("add", url, *to, webhook_networks="")).failure == sentence
    unknown = await webhook("add", "https://example.com", *to, "--type", "call.exploded")
    assert unknown.failure.endswith("not 'call.exploded'.")
    no_key = await webhook("add", "https://example.com", *to, secrets_key="")
    assert no_key.failure.startswith("CALLFOLD_SECRETS_KEY is not set, so no secret can be stored or read.")
    missing = uuid4()
    assert (await webhook("test", missing)).failure.startswith(f"There is no webhook {missing}.")
    for _ in range(20):
        await added(webhook, organization_id, "https://example.com")
    assert "which is the limit" in (await webhook("add", "https://example.com", *to)).failure
    await added(webhook, organization_id, "https://example.com", "--test")
    assert await database.fetchval("SELECT count(*) FROM webhooks") == 21

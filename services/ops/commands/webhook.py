"""`callfold webhook`: endpoints that get messages about an organization's changed calls."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from services.ops.addresses import database, find_database, require_organization
from services.ops.commands.org import check_name
from services.ops.embedded.state import WEBHOOK_NETWORKS
from services.ops.sources.secret_keys import secret_box
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import operator
from services.ops.terminal.options import JsonOption, OrganizationOption, StateOption, uuid_argument
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import minute, mode, print_json, print_table, second
from services.ops.terminal.program import suggestion
from shared.database.connection import Connection
from shared.secret_box import SecretBox, SecretsLocked
from shared.settings.webhooks import WebhookTargetSettings
from shared.store.webhook_deliveries import Delivery, find_delivery, list_deliveries, send_again, send_test
from shared.store.webhooks import (
    ROTATION,
    WEBHOOKS_MAX,
    TooManyWebhooks,
    Webhook,
    change_webhook,
    create_webhook,
    find_webhook,
    list_webhooks,
    remove_webhook,
    rotate_secret,
)
from shared.webhooks.call_change import MESSAGE_TYPES
from shared.webhooks.target import Network, check_url

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Send messages about an organization's changed calls to endpoints, by HTTP.",
)

TEST_SECONDS: Final = 30
"""How long `test` waits for the first attempt."""
LISTED_MAX: Final = 100
BODY_SHOWN_MAX: Final = 200
"""Characters of an answer that tables and errors show; --json shows all that is stored."""
WebhookArgument = Annotated[UUID, uuid_argument("WEBHOOK", "The webhook's id.", "The webhook")]
StateNameOption = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="STATE",
        help="Only deliveries that are waiting, delivered or failed. Default: all.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class _Opened:
    """A connection within a transaction, and what commands need beside it."""

    connection: Connection
    box: SecretBox
    networks: Sequence[Network]


@app.command(cls=Command)
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages are sent.", show_default=False)],
    organization_id: OrganizationOption,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help=f"A type of messages to send: {', '.join(MESSAGE_TYPES)}. Repeatable. Default: all.",
            show_default=False,
        ),
    ] = None,
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="A description, for lists. Default: empty.")
    ] = "",
    test: Annotated[
        bool, typer.Option("--test", help="Send messages about test calls. Default: live calls.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add an endpoint and show its secret once.

    Messages are signed by the Standard Webhooks specification. The endpoint verifies them with the secret.
    """
    unknown = sorted(set(types or ()) - set(MESSAGE_TYPES))
    if unknown:
        raise Failure(f"--type must be one of {', '.join(MESSAGE_TYPES)}, not {unknown[0]!r}.")
    wanted = [type_ for type_ in MESSAGE_TYPES if type_ in (types or ())]
    description = check_name(description) if description else description
    made, secret = asyncio.run(_add(state, organization_id, url, wanted, description, livemode=not test))
    _print_with_secret(made, secret, as_json=as_json)
    if not as_json:
        typer.echo(f"Added webhook {made.id} for {mode(made.livemode)} calls.", err=True)
        typer.echo("Store the secret now: callfold keeps it encrypted and does not show it again.", err=True)


@app.command("list", cls=Command)
def list_(
    organization_id: OrganizationOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """List an organization's webhooks, the oldest first."""
    found = asyncio.run(_list(state, organization_id))
    if as_json:
        print_json([asdict(webhook) for webhook in found])
        return
    print_table(
        ["id", "mode", "url", "types", "state", "created (UTC)", "description"],
        [
            (
                webhook.id,
                mode(webhook.livemode),
                webhook.url,
                "all" if not webhook.types else ", ".join(webhook.types),
                _state(webhook),
                minute(webhook.created_at),
                webhook.description,
            )
            for webhook in found
        ],
    )


@app.command(cls=Command)
def show(webhook_id: WebhookArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show a webhook and its newest deliveries. Its secret is never shown."""
    webhook, newest = asyncio.run(_show(state, webhook_id, None, 10))
    if as_json:
        print_json({**asdict(webhook), "deliveries": [asdict(delivery) for delivery in newest]})
        return
    shown = asdict(webhook) | {
        "types": ", ".join(webhook.types) or "all",
        "livemode": None,
        "mode": mode(webhook.livemode),
        "enabled": "yes"
        if webhook.enabled
        else f"no: {webhook.disabled_reason or 'it was disabled by hand'}",
        "disabled_reason": None,
    }
    print_table(
        ["field", "value"],
        [
            (name.replace("_", " "), second(value) if isinstance(value, datetime) else value)
            for name, value in shown.items()
            if value not in (None, "")
        ],
    )
    if newest:
        typer.echo()
        _print_deliveries(newest)


@app.command(cls=Command)
def deliveries(
    webhook_id: WebhookArgument,
    only: StateNameOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest deliveries of a webhook, at most 100."""
    if only not in (None, "waiting", "delivered", "failed"):
        raise Failure(f"--only must be waiting, delivered or failed, not {only!r}.")
    _, found = asyncio.run(_show(state, webhook_id, only, LISTED_MAX))
    if as_json:
        print_json([asdict(delivery) for delivery in found])
    else:
        _print_deliveries(found)


@app.command("test", cls=Command)
def send_one(webhook_id: WebhookArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Send a message `webhook.test`, and show what the endpoint answers.

    Exit status: 0 when it was delivered, 1 otherwise.
    """
    delivery = asyncio.run(_test(state, webhook_id))
    if as_json:
        print_json(asdict(delivery))
    if not delivery.attempts:
        raise Failure(
            f"No process of webhooks has sent the message within {TEST_SECONDS} s; it waits. Is the service "
            "`webhooks` running?"
        )
    if delivery.error is not None:
        raise Failure(f"The message was not delivered. {_failure(delivery)}")
    if not as_json:
        typer.echo(f"Delivered. The endpoint has answered {delivery.answer_status}.")


@app.command(cls=Command)
def resend(
    webhook_id: WebhookArgument,
    delivery_id: Annotated[
        int, typer.Argument(metavar="DELIVERY", help="The delivery's id, as `deliveries` lists it.", min=1)
    ],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a delivery again, now. The message keeps its id and its body."""
    delivery = asyncio.run(_resend(state, webhook_id, delivery_id))
    if as_json:
        print_json(asdict(delivery))
        return
    typer.echo(f"Delivery {delivery_id} is due now.")


@app.command(cls=Command)
def disable(webhook_id: WebhookArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Disable a webhook. It gets no messages, and those that wait stay."""
    done = asyncio.run(_enable(state, webhook_id, enabled=False))
    _print_done(done, "disabled", as_json=as_json)


@app.command(cls=Command)
def enable(webhook_id: WebhookArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Enable a webhook again. Deliveries that wait are sent; changes while it was disabled are not."""
    done = asyncio.run(_enable(state, webhook_id, enabled=True))
    _print_done(done, "enabled", as_json=as_json)


@app.command(cls=Command)
def rotate(webhook_id: WebhookArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Give a webhook a new secret and show it once.

    For a day, messages are signed with the new secret and with the one before.
    """
    webhook, secret, is_second = asyncio.run(_rotate(state, webhook_id))
    _print_with_secret(webhook, secret, as_json=as_json)
    if not as_json:
        hours = int(ROTATION.total_seconds() // 3600)
        typer.echo(f"For {hours} hours, messages are also signed with the secret before.", err=True)
        if is_second:
            typer.echo("Messages are no longer signed with the secret before that one.", err=True)
        typer.echo("Store the secret now: callfold keeps it encrypted and does not show it again.", err=True)


@app.command(cls=Command)
def remove(webhook_id: WebhookArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Remove a webhook with its deliveries."""
    done = asyncio.run(_remove(state, webhook_id))
    _print_done(done, "removed", as_json=as_json)


def _print_done(webhook: Webhook, word: str, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(webhook))
    else:
        typer.echo(f"The webhook {webhook.id} is {word}.")


def _print_with_secret(webhook: Webhook, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(webhook), "secret": secret})
    else:
        typer.echo(secret)


def _print_deliveries(found: Sequence[Delivery]) -> None:
    print_table(
        ["id", "type", "state", "attempts", "last attempt (UTC)", "next (UTC)", "answer", "error"],
        [
            (
                delivery.id,
                delivery.type,
                delivery.state,
                delivery.attempts,
                second(delivery.attempted_at),
                second(delivery.due_at),
                delivery.answer_status,
                _failure(delivery),
            )
            for delivery in found
        ],
    )


def _failure(delivery: Delivery) -> str | None:
    """Why the last attempt failed, with the begin of the answer."""
    if delivery.error is None or not delivery.answer_body:
        return delivery.error
    return f"{delivery.error} Its answer begins: {' '.join(delivery.answer_body.split())[:BODY_SHOWN_MAX]}"


def _state(webhook: Webhook) -> str:
    if not webhook.enabled:
        return "disabled"
    return "enabled" if webhook.failing_since is None else "failing"


@asynccontextmanager
async def _opened(state: Path | None) -> AsyncIterator[_Opened]:
    """The database, and what the environment or the embedded stack says of webhooks. Raises Failure."""
    place = find_database(state)
    networks = settings_from_environment(WebhookTargetSettings).webhook_networks
    if place.state is not None and not networks:
        networks = (ip_network(WEBHOOK_NETWORKS),)
    async with database(place) as connection:
        yield _Opened(connection, secret_box(place.state), networks)


@asynccontextmanager
async def _found(state: Path | None, webhook_id: UUID) -> AsyncIterator[tuple[_Opened, Webhook]]:
    """A webhook, within one transaction. Raises Failure if there is none."""
    async with _opened(state) as opened, opened.connection.transaction():
        organization_id = await opened.connection.fetchval(_OWNER, webhook_id)
        webhook = None
        if organization_id is not None:
            webhook = await find_webhook(opened.connection, organization_id, webhook_id)
        if webhook is None:
            listing = suggestion("webhook", "list", "--organization", "ID", state=state)
            raise Failure(f"There is no webhook {webhook_id}. {listing} lists an organization's webhooks.")
        yield opened, webhook


async def _add(
    state: Path | None,
    organization_id: UUID,
    url: str,
    types: Sequence[str],
    description: str,
    *,
    livemode: bool,
) -> tuple[Webhook, str]:
    async with _opened(state) as opened, opened.connection.transaction():
        await require_organization(opened.connection, organization_id, state)
        try:
            checked = check_url(url, opened.networks)
        except ValueError as rule:
            raise Failure(f"URL must {rule}, not {url[:100]!r}.") from None
        try:
            return await create_webhook(
                opened.connection,
                opened.box,
                organization_id=organization_id,
                livemode=livemode,
                url=checked,
                description=description,
                types=types,
                actor=operator(),
            )
        except TooManyWebhooks:
            limit = f"{WEBHOOKS_MAX} webhooks for {mode(livemode)} calls, which is the limit"
            raise Failure(f"The organization has {limit}. Remove one that is not needed.") from None
        except SecretsLocked as locked:
            raise _locked(locked) from None


async def _list(state: Path | None, organization_id: UUID) -> list[Webhook]:
    async with _opened(state) as opened:
        await require_organization(opened.connection, organization_id, state)
        return await list_webhooks(opened.connection, organization_id)


async def _show(
    state: Path | None, webhook_id: UUID, only: Any, limit: int
) -> tuple[Webhook, list[Delivery]]:
    async with _found(state, webhook_id) as (opened, webhook):
        return webhook, await list_deliveries(opened.connection, webhook, state=only, limit=limit)


async def _test(state: Path | None, webhook_id: UUID) -> Delivery:
    """Sends a test, and returns its delivery after the first attempt, or when time is over."""
    async with _found(state, webhook_id) as (opened, webhook):
        _check_enabled(webhook, state)
        delivery_id = await send_test(opened.connection, webhook, datetime.now(UTC))
    pauses = iter([0.1] * 10 + [0.5] * (2 * TEST_SECONDS - 2))
    async with _opened(state) as opened:
        while True:
            delivery = await find_delivery(opened.connection, webhook, delivery_id)
            if delivery is None:
                raise Failure(f"The webhook {webhook_id} was removed in the meantime.")
            pause = next(pauses, None)
            if delivery.attempts or pause is None:
                return delivery
            await asyncio.sleep(pause)


async def _resend(state: Path | None, webhook_id: UUID, delivery_id: int) -> Delivery:
    async with _found(state, webhook_id) as (opened, webhook):
        _check_enabled(webhook, state)
        await send_again(opened.connection, webhook, delivery_id)
        delivery = await find_delivery(opened.connection, webhook, delivery_id)
        if delivery is None:
            raise Failure(f"The webhook {webhook_id} has no delivery {delivery_id}.")
        return delivery


async def _enable(state: Path | None, webhook_id: UUID, *, enabled: bool) -> Webhook:
    async with _found(state, webhook_id) as (opened, webhook):
        return await change_webhook(opened.connection, webhook, enabled=enabled, actor=operator())


async def _rotate(state: Path | None, webhook_id: UUID) -> tuple[Webhook, str, bool]:
    """The webhook with its new secret, and whether this ends an earlier rotation before its time."""
    async with _found(state, webhook_id) as (opened, webhook):
        is_second = webhook.previous_secret_until is not None
        now = datetime.now(UTC)
        try:
            changed, secret = await rotate_secret(opened.connection, opened.box, webhook, now, operator())
            return changed, secret, is_second
        except SecretsLocked as locked:
            raise _locked(locked) from None


async def _remove(state: Path | None, webhook_id: UUID) -> Webhook:
    async with _found(state, webhook_id) as (opened, webhook):
        await remove_webhook(opened.connection, webhook, operator())
        return webhook


def _check_enabled(webhook: Webhook, state: Path | None) -> None:
    """Raises Failure for a disabled webhook."""
    if not webhook.enabled:
        enable_it = suggestion("webhook", "enable", webhook.id, state=state)
        raise Failure(f"The webhook {webhook.id} is disabled. {enable_it} enables it.")


def _locked(locked: SecretsLocked) -> Failure:
    return Failure(f"{locked} `callfold source new-key` generates a key.")


_OWNER: Final = "SELECT organization_id FROM webhooks WHERE id = $1"

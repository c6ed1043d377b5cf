"""`callfold source`: telephony systems that deliver in their own form."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import typer

from services.ops.addresses import database, find_both, find_database, kafka_faults
from services.ops.commands.org import check_name
from services.ops.commands.source_try import try_
from services.ops.embedded.state import load
from services.ops.sources.configuration import (
    check_complete,
    dialect_named,
    hook_path,
    is_open,
    read_mapping,
    read_secrets,
    read_settings,
    read_topic,
    read_url,
)
from services.ops.sources.secret_keys import secret_box
from services.ops.sources.stored import (
    delete_source,
    enable_source,
    find_source,
    mapped_values,
    shown,
    store_source,
    summary,
)
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption, StateOption, organization_option
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import counted, minute, print_json, print_table
from services.ops.terminal.program import suggestion
from shared.database.connection import Connection
from shared.dialects.registry import DIALECTS
from shared.kafka.topic import administration, partitions_of
from shared.secret_box import SecretBox, SecretsLocked, new_key
from shared.sources.source import Source
from shared.store.sources import StoredSource, read_sources
from shared.store.webhooks import encrypt_webhooks_again

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Connect telephony systems that deliver in their own form, by HTTP or by Kafka.",
)
app.command("try", cls=Command)(try_)

KAFKA_SECONDS: Final = 5
"""How long `create` looks for the source's topic."""
NameArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="The source's name or id.", show_default=False)
]
ServesOption = Annotated[
    UUID | None, organization_option("The organization of records that name none. Default: none.")
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="VALUE=ID",
        help="Give records that name VALUE to the organization ID. Repeatable.",
        show_default=False,
    ),
]
MapByOption = Annotated[
    str | None,
    typer.Option(
        "--map-by",
        metavar="FIELD",
        help="The field of these values. Default: the dialect's.",
        show_default=False,
    ),
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="NAME=VALUE",
        help="A secret, or NAME=@FILE to read it from a file. Repeatable.",
        show_default=False,
    ),
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        metavar="NAME=VALUE",
        help="A setting; a value may be JSON. An empty value removes it. Repeatable.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The public address that the system calls. Without a path, it is the receiver's, and the path "
        "of the source is appended. Required where signatures cover it.",
        show_default=False,
    ),
]
TopicOption = Annotated[
    str | None,
    typer.Option(
        "--topic",
        metavar="TOPIC",
        help="The Kafka topic of the records. Default: the system calls the receiver by HTTP.",
        show_default=False,
    ),
]


@app.command(cls=Command)
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name of your choice, unique.", show_default=False)
    ],
    dialect: Annotated[
        str,
        typer.Option("--dialect", metavar="D", help="The system: see `source dialects`.", show_default=False),
    ],
    organization_id: ServesOption = None,
    mapped: MapOption = None,
    map_by: MapByOption = None,
    secret: SecretOption = None,
    setting: SettingOption = None,
    url: UrlOption = None,
    topic: TopicOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Connect a system. Ingest and the receiver know it within seconds.

    The calls belong to one organization (--organization), or to several (--map). Records that name a value
    that is not mapped wait in the quarantine.
    """
    chosen = dialect_named(dialect)
    source_id = uuid4()
    source = Source(
        id=source_id,
        name=check_name(name),
        dialect=chosen.name,
        organization=organization_id,
        organizations=read_mapping(mapped),
        organizations_by=map_by or None,
        secrets=_given(read_secrets(secret, chosen)),
        settings=_given(read_settings(setting, chosen)),
        url=read_url(url, source_id),
        topic=read_topic(topic),
    )
    check_complete(chosen, source)
    receiver = asyncio.run(_create(state, source))
    _warn_if_open(source)
    if as_json:
        print_json(summary(source))
        return
    typer.echo(f"Created source {source.name} ({source.id}).")
    if source.topic is not None:
        typer.echo(f"Ingest reads its topic {source.topic} within seconds.")
        return
    typer.echo(f"Address at the receiver: {receiver}{hook_path(source.id)}")
    if source.url is not None:
        typer.echo(f"Address that the system calls: {source.url}")


@app.command("list", cls=Command)
def list_sources(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List all sources."""
    found = asyncio.run(_with_database(state, read_sources))
    if as_json:
        print_json([shown(one) for one in found])
        return
    rows = [
        (
            one.source.id,
            one.source.name,
            one.source.dialect,
            one.source.topic or hook_path(one.source.id),
            "yes" if one.enabled else "no",
            _organizations(one.source),
            minute(one.created_at),
        )
        for one in found
    ]
    print_table(["id", "name", "dialect", "topic or path", "enabled", "organizations", "created (UTC)"], rows)


@app.command(cls=Command)
def show(source: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show one source. Of its secrets only the names are shown."""
    one = asyncio.run(_with_database(state, lambda connection, box: find_source(connection, source, box)))
    fields = shown(one)
    if as_json:
        print_json(fields)
        return
    for name, value in fields.items():
        if name == "organizations":
            _print_pairs(name, mapped_values(one.source))
        elif name == "settings":
            _print_pairs(name, one.source.settings)
        elif name == "secrets":
            typer.echo(f"secrets: {one.locked or ', '.join(one.source.secrets) or 'none'}")
        elif value is not None:
            typer.echo(f"{name}: {value}")


@app.command("map", cls=Command)
def map_(
    source: NameArgument,
    mapped: Annotated[
        list[str] | None,
        typer.Argument(metavar="VALUE=ID", help="Values and organizations.", show_default=False),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="VALUE", help="Remove a value. Repeatable.", show_default=False),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Map values that records name to organizations.

    Ingest then retries the quarantined deliveries of the source that named an unmapped value.
    """
    added = read_mapping(mapped, "VALUE=ID")
    if not added and not remove:
        raise Failure("Name at least one VALUE=ID, or --remove VALUE.")

    def changed(before: Source) -> Source:
        for value in remove or ():
            if value not in before.organizations:
                raise Failure(f"The source maps no value {value!r}.")
        kept = {value: id_ for value, id_ in before.organizations.items() if value not in (remove or ())}
        return replace(before, organizations={**kept, **added})

    _change(state, source, changed, f"{len(added)} mapped, {len(remove or ())} removed", as_json=as_json)


@app.command("set", cls=Command)
def set_(
    source: NameArgument,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="A new name.", show_default=False)
    ] = None,
    organization_id: ServesOption = None,
    map_by: MapByOption = None,
    secret: SecretOption = None,
    setting: SettingOption = None,
    url: UrlOption = None,
    topic: TopicOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a source. Options that are not given keep their values.

    An empty secret or address is removed, if requests can be verified without it.
    """

    def changed(before: Source) -> Source:
        chosen = dialect_named(before.dialect)
        return replace(
            before,
            name=check_name(name) if name else before.name,
            organization=organization_id or before.organization,
            organizations_by=before.organizations_by if map_by is None else map_by or None,
            secrets=_given({**before.secrets, **read_secrets(secret, chosen, may_remove=True)}),
            settings=_given({**before.settings, **read_settings(setting, chosen)}),
            url=before.url if url is None else read_url(url, before.id),
            topic=before.topic if topic is None else read_topic(topic),
        )

    what = {
        "name": name,
        "organization": organization_id,
        "map-by": map_by,
        "secrets": secret,
        "settings": setting,
        "url": url,
        "topic": topic,
    }
    names = [option for option, given in what.items() if given is not None]
    if not names:
        raise Failure("Name at least one option to change.")
    _change(state, source, changed, ", ".join(names), as_json=as_json)


@app.command(cls=Command)
def disable(source: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Disable a source: the receiver refuses its requests, and ingest leaves its topic unread."""
    _enable(state, source, enabled=False, as_json=as_json)


@app.command(cls=Command)
def enable(source: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Enable a disabled source."""
    _enable(state, source, enabled=True, as_json=as_json)


@app.command(cls=Command)
def delete(source: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Delete a source. Its calls stay; its requests that are not yet read go to the quarantine."""

    async def remove(connection: Connection, box: SecretBox) -> StoredSource:
        found = await find_source(connection, source, box)
        await delete_source(connection, found.source)
        return found

    gone = asyncio.run(_with_database(state, remove))
    if as_json:
        print_json(summary(gone.source))
        return
    typer.echo(f"Deleted source {gone.source.name} ({gone.source.id}).")
    if (topic := gone.source.topic) is not None:
        typer.echo(
            f"Ingest reads the topic {topic} no more, and `replay --topic {topic}` takes its records for "
            "callfold's own events."
        )


@app.command(cls=Command)
def dialects(as_json: JsonOption = False) -> None:
    """List the systems that callfold reads, with the secrets that each needs."""
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "title": one.title,
                    "ways": one.ways,
                    "organizations_by": one.organizations_by,
                    "secrets": [{"name": each.name, "required": each.required} for each in one.secrets],
                    "settings": [{"name": each.name, "required": each.required} for each in one.settings],
                }
                for one in sorted(DIALECTS.values(), key=lambda dialect: dialect.name)
            ]
        )
        return
    rows = [
        (
            one.name,
            one.title,
            " or ".join(one.ways),
            one.organizations_by or "",
            ", ".join(each.name if each.required else f"[{each.name}]" for each in one.secrets),
        )
        for one in sorted(DIALECTS.values(), key=lambda dialect: dialect.name)
    ]
    print_table(["dialect", "system", "by", "organization by", "secrets"], rows)


@app.command("new-key", cls=Command)
def print_new_key() -> None:
    """Print a new random key for CALLFOLD_SECRETS_KEY."""
    typer.echo(new_key())


@app.command("encrypt-again", cls=Command)
def encrypt_again(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Encrypt the secrets of all sources and webhooks with the first key of CALLFOLD_SECRETS_KEY.

    To replace a key: put the new one first, restart the services, run this, and remove the old one.
    """

    async def encrypt(connection: Connection, box: SecretBox) -> tuple[int, int]:
        count = 0
        for listed in await read_sources(connection, box):
            async with connection.transaction():
                one = await find_source(connection, str(listed.source.id), box, to_change=True)
                if one.locked is not None:
                    raise Failure(f"The source {one.source.name}: {one.locked}")
                if one.source.secrets:
                    await store_source(
                        connection, one.source, box, is_new=False, changed="secrets encrypted again"
                    )
                    count += 1
        try:
            return count, await encrypt_webhooks_again(connection, box)
        except SecretsLocked as locked:
            raise Failure(f"A webhook: {locked}") from None

    sources, webhooks = asyncio.run(_with_database(state, encrypt))
    if as_json:
        print_json({"sources": sources, "webhooks": webhooks})
        return
    typer.echo(
        f"Encrypted the secrets of {counted(sources, 'source')} and {counted(webhooks, 'webhook')} again."
    )


def _change(
    state: Path | None, source: str, changed: Callable[[Source], Source], what: str, *, as_json: bool
) -> None:
    async def change(connection: Connection, box: SecretBox) -> Source:
        async with connection.transaction():
            found = await find_source(connection, source, box, to_change=True)
            if found.locked is not None:
                raise Failure(f"The source {found.source.name} cannot be changed: {found.locked}")
            after = changed(found.source)
            check_complete(dialect_named(after.dialect), after)
            await store_source(connection, after, box, is_new=False, changed=what)
        await _warn_of_unknown(connection, after)
        return after

    done = asyncio.run(_with_database(state, change))
    _warn_if_open(done)
    if as_json:
        print_json(summary(done))
        return
    typer.echo(f"Changed source {done.name} ({done.id}): {what}.")


def _enable(state: Path | None, source: str, *, enabled: bool, as_json: bool) -> None:
    async def change(connection: Connection, box: SecretBox) -> StoredSource:
        found = await find_source(connection, source, box)
        await enable_source(connection, found.source, enabled=enabled)
        return found

    done = asyncio.run(_with_database(state, change)).source
    if as_json:
        print_json({"id": done.id, "name": done.name, "enabled": enabled})
        return
    typer.echo(f"{'Enabled' if enabled else 'Disabled'} source {done.name} ({done.id}).")


async def _create(state: Path | None, source: Source) -> str:
    """Creates the source. Returns the address of the embedded receiver; empty if there is none."""

    async def create_one(connection: Connection, box: SecretBox) -> None:
        await store_source(connection, source, box, is_new=True)
        await _warn_of_unknown(connection, source)

    await _with_database(state, create_one)
    if source.topic is not None:
        await _warn_of_missing_topic(state, source.topic)
        return ""
    directory = find_database(state).state
    return "" if directory is None else load(directory).receiver_url or ""


async def _with_database(state: Path | None, work: Callable[[Connection, SecretBox], Awaitable[Any]]) -> Any:
    """The result of the work with a connection and the box of secrets. Raises Failure."""
    place = find_database(state)
    async with database(place) as connection:
        return await work(connection, secret_box(place.state))


async def _warn_of_unknown(connection: Connection, source: Source) -> None:
    """Names organizations that do not exist: a typing error would otherwise create one."""
    named = {*source.organizations.values(), *({source.organization} - {None})}
    rows = await connection.fetch("SELECT id FROM organizations WHERE id = ANY($1::uuid[])", list(named))
    for unknown in sorted(named - {id_ for (id_,) in rows}, key=str):
        typer.echo(f"Note: there is no organization {unknown} yet.", err=True)


async def _warn_of_missing_topic(state: Path | None, topic: str) -> None:
    """Says that Kafka lacks the topic. Says nothing while Kafka cannot be asked."""
    try:
        place = find_both(state)[1]
        with kafka_faults(place):
            async with asyncio.timeout(KAFKA_SECONDS), administration(place.broker) as admin:
                exists = bool(await partitions_of(admin, topic))
    except (Failure, TimeoutError):
        return
    if not exists:
        create = suggestion("topic", topic, state=place.state)
        typer.echo(f"Note: Kafka has no topic {topic}. {create} creates it.", err=True)


def _warn_if_open(source: Source) -> None:
    if not is_open(source):
        return
    typer.echo(
        f"Note: every client that knows the address {source.url or hook_path(source.id)} can deliver to the "
        f"source {source.name}: it has no secret.",
        err=True,
    )


def _print_pairs(title: str, pairs: Mapping[str, object]) -> None:
    """A title and a line for each pair; nothing if there are none."""
    if pairs:
        typer.echo(f"{title}:")
    for name, value in pairs.items():
        typer.echo(f"  {name} = {value}")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != ""}


def _organizations(source: Source) -> str:
    parts: Sequence[str] = [
        *([str(source.organization)] if source.organization is not None else []),
        *([counted(len(source.organizations), "mapped value")] if source.organizations else []),
    ]
    return ", ".join(parts)

"""`callfold quarantine`: lists, shows, retries and discards the records that ingest quarantined."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from services.ops.addresses import Place, database, find_database
from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS
from services.ops.repair.quarantined_records import (
    Choice,
    count_by_reason,
    count_records,
    discard_chosen,
    find_record,
    list_records,
    redrive_chosen,
)
from services.ops.repair.redrive import Redriven
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import operator
from services.ops.terminal.options import JsonOption, StateOption, organization_option, uuid_argument
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import console, counted, minute, print_json, print_table
from services.ops.terminal.progress_bar import progress
from services.ops.terminal.readable import lines_of
from shared.calls.event import call_uuid
from shared.calls.named_call import SEVERAL_CALLS
from shared.settings.kafka import KafkaSettings

LIST_MAX: Final = 10_000

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="List, show, retry and discard the records that ingest quarantined.",
)

ReasonOption = Annotated[
    str | None,
    typer.Option(
        "--reason",
        metavar="TEXT",
        help="Only records whose reason contains this text. Default: any reason.",
        show_default=False,
    ),
]
TopicOption = Annotated[
    str | None,
    typer.Option(
        "--topic", metavar="TOPIC", help="Only records of this topic. Default: any topic.", show_default=False
    ),
]
NamedOrganizationOption = Annotated[
    UUID | None, organization_option("Only records that name this organization. Default: any.")
]
CallOption = Annotated[
    str | None,
    typer.Option(
        "--call",
        metavar="ID",
        help="Only records that name this call, by its id or its external id; needs --organization. "
        "Default: any call.",
        show_default=False,
    ),
]
IdsArgument = Annotated[list[UUID] | None, uuid_argument("ID", "The ids of the records.", "An id")]


@app.command("list", cls=Command)
def list_(
    reason: ReasonOption = None,
    topic: TopicOption = None,
    organization_id: NamedOrganizationOption = None,
    call: CallOption = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than-hours",
            min=0,
            metavar="HOURS",
            help="Only records quarantined more than this many hours ago. Default: any time.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=LIST_MAX, help="The largest number of records, or of reasons, to list.")
    ] = 50,
    by_reason: Annotated[
        bool, typer.Option("--by-reason", help="Print the number of records per topic and reason instead.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List quarantined records, the newest first, with the reason of each.

    A record is listed with the organization and the call that it names. The call
    00000000-0000-0000-0000-000000000000 stands for several calls.
    """
    before = None if older_than is None else timedelta(hours=older_than)
    chosen = _choice(None, reason, topic, organization_id, call)
    found = asyncio.run(_list(state, chosen, before, limit, by_reason=by_reason))
    if as_json:
        print_json(found)
        return
    if by_reason:
        rows = [(one["records"], one["topic"], minute(one["newest"]), one["reason"]) for one in found]
        print_table(["records", "topic", "newest (UTC)", "reason"], rows)
        return
    columns = ["id", "quarantined (UTC)", "topic", "partition", "offset", "organization", "call", "reason"]
    names = ("topic", "partition", "offset", "organization_id", "call_id", "reason")
    lines = [
        (
            one["id"],
            minute(one["quarantined_at"]),
            *("" if one[name] is None else one[name] for name in names),
        )
        for one in found
    ]
    print_table(columns, lines)


@app.command(cls=Command)
def show(
    record_id: Annotated[UUID, uuid_argument("ID", "The record's id.", "The id")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one record: its topic and offset, its reason, and its key, headers and value in readable form."""
    row = asyncio.run(_show(state, record_id))
    headers = list(zip(row["header_names"], row["header_values"], strict=True))
    if as_json:
        as_hex = {name: _hex(row[name]) for name in ("key", "value")}
        print_json({**row, **as_hex, "header_values": [_hex(value) for _, value in headers]})
        return
    to = console()
    to.print(f"{row['reason']}", style="bold", markup=False)
    to.print(f"topic {row['topic']}, partition {row['partition']}, offset {row['offset']}", markup=False)
    to.print(f"organization {row['organization_id'] or 'not named'}, call {_call(row['call_id'])}")
    to.print(f"produced {_second(row['produced_at'])}, quarantined {_second(row['quarantined_at'])}")
    to.print("key:")
    to.print("\n".join(lines_of(row["key"])), markup=False)
    for name, value in headers:
        to.print(f"header {name}:", markup=False)
        to.print("\n".join(lines_of(value)), markup=False)
    to.print("value:")
    to.print("\n".join(lines_of(row["value"])), markup=False)


@app.command(cls=Command)
def redrive(
    ids: IdsArgument = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    organization_id: NamedOrganizationOption = None,
    call: CallOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every record. Cannot be combined with other choices.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry records as if they arrived now, for example after their organization was created.

    Accepted records are stored and counted, and leave the quarantine. The others stay, with their current
    reason. Running it again is harmless. It creates no organization: run `org create` first.
    """
    chosen = _chosen(_choice(ids, reason, topic, organization_id, call), everything)
    done = asyncio.run(_redrive(find_database(state), chosen, quiet=as_json))
    if as_json:
        print_json(done)
        return
    typer.echo(
        f"{counted(done.retried, 'record')} retried: {done.accepted:,} accepted, "
        f"{done.still_quarantined:,} still quarantined."
    )


@app.command(cls=Command)
def discard(
    ids: IdsArgument = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    organization_id: NamedOrganizationOption = None,
    call: CallOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every record. Cannot be combined with other choices.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove records permanently, in small transactions.

    The audit log keeps the operator and the position of each record, but not its content.
    """
    discarded = asyncio.run(
        _discard(state, _chosen(_choice(ids, reason, topic, organization_id, call), everything))
    )
    if as_json:
        print_json({"discarded": discarded})
        return
    typer.echo(f"{counted(discarded, 'record')} discarded.")


def _choice(
    ids: list[UUID] | None,
    reason: str | None,
    topic: str | None,
    organization_id: UUID | None,
    call: str | None,
) -> Choice:
    """The records that the options name. Raises Failure."""
    if call is not None and organization_id is None:
        raise Failure("--call needs --organization: a call id is unique only within its organization.")
    call_id = None if call is None or organization_id is None else call_uuid(organization_id, call)
    return Choice(ids or None, reason or None, topic or None, organization_id, call_id)


def _chosen(choice: Choice, everything: bool) -> Choice:
    """The choice. Raises Failure when it names no criterion, or --all with another criterion."""
    if everything == any(one is not None for one in choice):
        raise Failure("Choose the records by ids, --reason, --topic or --organization, or use --all alone.")
    return choice


async def _list(
    state: Path | None, chosen: Choice, older_than: timedelta | None, limit: int, *, by_reason: bool
) -> list[dict[str, Any]]:
    before = None if older_than is None else datetime.now(UTC) - older_than
    found = count_by_reason if by_reason else list_records
    async with database(find_database(state)) as connection:
        return [dict(row) for row in await found(connection, chosen, limit, before=before)]


async def _show(state: Path | None, record_id: UUID) -> dict[str, Any]:
    async with database(find_database(state)) as connection:
        row = await find_record(connection, record_id)
    if row is None:
        raise Failure(f"There is no record {record_id} in the quarantine.")
    return dict(row)


async def _redrive(place: Place, chosen: Choice, *, quiet: bool) -> Redriven:
    topic = settings_from_environment(KafkaSettings).deliveries_topic
    async with database(place, LONG_STATEMENT_SECONDS) as connection:
        expected = await count_records(connection, chosen)
        with progress("records", expected, quiet=quiet) as bar:
            return await redrive_chosen(
                connection, chosen, lambda: datetime.now(UTC), topic, report=bar.advance
            )


async def _discard(state: Path | None, chosen: Choice) -> int:
    async with database(find_database(state), LONG_STATEMENT_SECONDS) as connection:
        return await discard_chosen(connection, chosen, operator())


def _call(call_id: UUID | None) -> str:
    if call_id is None:
        return "not named"
    return "one of several" if call_id == SEVERAL_CALLS else str(call_id)


def _second(instant: datetime | None) -> str:
    return "at an unknown time" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()

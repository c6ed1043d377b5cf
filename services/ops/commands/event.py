"""`callfold event`: prints the contract of an event, and checks events as ingest reads them.

`schema` and `check` need no server and no settings. `publish` is in `event_publish`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import typer

from services.ops.repair.archive import Use, shown, values
from services.ops.repair.replay_source import open_archive, unreadable
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import counted, print_json
from shared.calls.event import InvalidEvent, Note, read
from shared.calls.event_schema import event_schema

CHECK: Final = Use(("event", "check", "-"), "check", "checked")

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="For producers: print the JSON Schema of an event, check events without a broker, and publish them.",
)


@dataclass(frozen=True)
class Checked:
    """The outcome of one record. `record` is the number of its line, or of its element in arrays."""

    record: int
    outcome: Literal["accepted", "noted", "refused"]
    id: str | None = None
    type: str | None = None
    notes: tuple[Note, ...] = ()
    reason: str | None = None
    """Why it is refused."""
    key: str = ""
    """The key to publish it with: its call id."""
    value: bytes = b""


@app.command(cls=Command)
def schema() -> None:
    """Print the JSON Schema (2020-12) of an event of the topic.

    Ingest accepts an event that conforms, and reads all of its fields.
    """
    typer.echo(json.dumps(event_schema(), indent=2))


FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="One event per line, JSON arrays or pretty-printed objects, plain or gzip-compressed; "
        "- is standard input.",
        show_default=False,
    ),
]


@app.command(cls=Command)
def check(
    file: FileArgument,
    as_json: JsonOption = False,
) -> None:
    """Check events as ingest reads them: accepted, accepted without some fields, or refused with the reason.

    This command asks no database. Ingest also refuses events of organizations that it may not create, of
    deleted calls, and older than the retention.

    Exit status: 0 when no event is refused; 1 when one is, or when the file has none.
    """
    outcomes: Counter[str] = Counter()
    described: list[dict[str, object]] = []
    for one in checked_events(file, CHECK, datetime.now(UTC)):
        outcomes[one.outcome] += 1
        if as_json:
            described.append(_described(one))
        else:
            typer.echo(line(one))
    if not outcomes:
        raise Failure(f"{shown(file)} has no event.")
    accepted, noted, refused = (outcomes[outcome] for outcome in ("accepted", "noted", "refused"))
    if as_json:
        print_json({"accepted": accepted, "noted": noted, "refused": refused, "records": described})
    else:
        typer.echo(
            f"{counted(outcomes.total(), 'record')}: {accepted:,} accepted, {noted:,} noted, "
            f"{refused:,} refused."
        )
    if refused:
        raise typer.Exit(1)


def checked_events(path: str, use: Use, now: datetime) -> Iterator[Checked]:
    """The records of the file. When it cannot be read, yields the records before that point, then raises
    Failure."""
    try:
        with open_archive(path) as file:
            for number, value in values(file, path, use):
                yield _check(number, value, now)
    except OSError as error:
        raise unreadable(path, error) from None


def _check(number: int, value: bytes, now: datetime) -> Checked:
    try:
        event = read(value, now)
    except InvalidEvent as error:
        return Checked(number, "refused", reason=str(error))
    return Checked(
        number,
        "noted" if event.notes else "accepted",
        event.id,
        event.type,
        event.notes,
        key=event.external_id or str(event.call_id),
        value=value,
    )


def line(checked: Checked) -> str:
    """The outcome of one record, for people."""
    if checked.reason is not None:
        return f"{checked.record}: refused: {checked.reason}"
    notes = "; ".join(f"{field}: {rule}" for field, rule in checked.notes)
    left_out = f", left out {notes}" if notes else ""
    id_ = checked.id if checked.id is not None and checked.id.isprintable() else repr(checked.id)
    return f"{checked.record}: {checked.outcome}: {checked.type} {id_}{left_out}"


def _described(checked: Checked) -> dict[str, object]:
    """One record for a script, without its bytes: notes are objects."""
    return {
        "record": checked.record,
        "outcome": checked.outcome,
        "id": checked.id,
        "type": checked.type,
        "notes": [note._asdict() for note in checked.notes],
        "reason": checked.reason,
    }

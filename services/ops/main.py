"""`callfold`: the operator's command line. Each command has its own file and is registered here only."""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from services.ops.commands import (
    event,
    event_publish,
    key,
    member,
    number,
    org,
    org_change,
    org_delete,
    quarantine,
    source,
)
from services.ops.commands.down import down
from services.ops.commands.forget import forget
from services.ops.commands.lag import lag
from services.ops.commands.migrate import migrate
from services.ops.commands.notes import notes
from services.ops.commands.prune import prune
from services.ops.commands.reap import reap
from services.ops.commands.rebuild import rebuild
from services.ops.commands.refold import refold
from services.ops.commands.replay import replay
from services.ops.commands.status import status
from services.ops.commands.topic import topic
from services.ops.commands.up import up
from services.ops.commands.verify import verify
from services.ops.demo.command import demo
from services.ops.terminal.failure import Failure
from services.ops.terminal.plain_help import Command, Group
from shared.settings.misspelt import deprecated, misspelt
from shared.upstream import UpstreamChanged

app = typer.Typer(
    name="callfold",
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Exact call records and exact daily counts from telephony events on Kafka.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"callfold {version('callfold')}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    # With a misspelt address, a command would use another database than the operator meant.
    for sentence in (*deprecated(os.environ), *misspelt(os.environ)):
        print(f"Warning: {sentence}", file=sys.stderr)


# The commands, in the order in which the help lists them.
for command in (
    *(up, down, status, demo, verify, lag, migrate, topic),
    *(replay, rebuild, refold, reap, prune, notes, forget),
):
    app.command(cls=Command)(command)
org_change.register(org.app)
org_delete.register(org.app)
app.add_typer(org.app, name="org")
app.add_typer(key.app, name="key")
app.add_typer(member.app, name="member")
app.add_typer(source.app, name="source")
app.add_typer(number.app, name="number")
app.add_typer(quarantine.app, name="quarantine")
event_publish.register(event.app)
app.add_typer(event.app, name="event")


def run() -> None:
    """Runs the command line. An expected fault prints one sentence on standard error, with exit status 1."""
    try:
        app()
    except (Failure, UpstreamChanged) as failure:
        print(f"Error: {failure}", file=sys.stderr)
        sys.exit(1)

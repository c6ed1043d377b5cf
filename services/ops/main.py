"""`callfold`: the operator's command line. Each command has its own file and is named here only."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import version
from pkgutil import resolve_name
from typing import Annotated, Final

import typer

from services.ops.terminal.failure import Failure
from services.ops.terminal.plain_help import Command, Group
from shared.settings.misspelt import deprecated, misspelt
from shared.upstream import UpstreamChanged

_COMMANDS: Final = "services.ops.commands"
COMMANDS: Final = {
    "up": f"{_COMMANDS}.up:up",
    "down": f"{_COMMANDS}.down:down",
    "status": f"{_COMMANDS}.status:status",
    "demo": "services.ops.demo.command:demo",
    "verify": f"{_COMMANDS}.verify:verify",
    "lag": f"{_COMMANDS}.lag:lag",
    "migrate": f"{_COMMANDS}.migrate:migrate",
    "topic": f"{_COMMANDS}.topic:topic",
    "replay": f"{_COMMANDS}.replay:replay",
    "rebuild": f"{_COMMANDS}.rebuild:rebuild",
    "refold": f"{_COMMANDS}.refold:refold",
    "reap": f"{_COMMANDS}.reap:reap",
    "prune": f"{_COMMANDS}.prune:prune",
    "publish": f"{_COMMANDS}.publish:publish",
    "notes": f"{_COMMANDS}.notes:notes",
    "forget": f"{_COMMANDS}.forget:forget",
    "org": f"{_COMMANDS}.org:app",
    "key": f"{_COMMANDS}.key:app",
    "member": f"{_COMMANDS}.member:app",
    "source": f"{_COMMANDS}.source:app",
    "number": f"{_COMMANDS}.number:app",
    "webhook": f"{_COMMANDS}.webhook:app",
    "quarantine": f"{_COMMANDS}.quarantine:app",
    "event": f"{_COMMANDS}.event:app",
}
"""Where each command is, a function or a group of commands, in the order in which the help lists them."""

_MORE: Final = {
    "org": (f"{_COMMANDS}.org_change:register", f"{_COMMANDS}.org_delete:register"),
    "event": (f"{_COMMANDS}.event_publish:register",),
}
"""Functions that add a group's commands of other files."""


def command_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with the commands of these names. It imports the files of no other command."""
    app = typer.Typer(
        name="callfold",
        cls=Group,
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        help="Exact call records and exact daily counts from telephony events on Kafka.",
    )
    app.callback()(_whole)
    for name in names:
        command = _command(name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(cls=Command)(command)
    return app


def app_of(words: Sequence[str]) -> typer.Typer:
    """The command line for these words: with the command that they name, otherwise with all commands."""
    called = next((word for word in words if not word.startswith("-")), None)
    return command_app([called] if called in COMMANDS else COMMANDS)


@cache
def _command(name: str) -> typer.Typer | Callable[..., None]:
    command: typer.Typer | Callable[..., None] = resolve_name(COMMANDS[name])
    for register in map(resolve_name, _MORE.get(name, ())):
        register(command)
    return command


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"callfold {version('callfold')}")
        raise typer.Exit


def _whole(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    # With a misspelt address, a command would use another database than the operator meant.
    for sentence in (*deprecated(os.environ), *misspelt(os.environ)):
        print(f"Warning: {sentence}", file=sys.stderr)


def run() -> None:
    """Runs the command line. An expected fault prints one sentence on standard error, with exit status 1."""
    try:
        app_of(sys.argv[1:])()
    except (Failure, UpstreamChanged) as failure:
        print(f"Error: {failure}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()

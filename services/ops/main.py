"""`callfold`: the operator's command line. One file a command; each is registered here and nowhere else."""

import sys

import typer

from services.ops.down import down
from services.ops.failure import Failure
from services.ops.status import status
from services.ops.up import up

app = typer.Typer(
    name="callfold",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Exact call records and exact daily counts from telephony events on Kafka.",
)

# The commands, in the order in which the help lists them.
for command in (up, down, status):
    app.command()(command)


def run() -> None:
    """Runs the command line. An expected fault is one sentence on standard error, and exit status 1."""
    try:
        app()
    except Failure as failure:
        print(f"Error: {failure}", file=sys.stderr)
        sys.exit(1)

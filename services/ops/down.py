"""`callfold down`: the end of every process of a stack."""

import typer

from services.ops.addresses import DEFAULT_STATE
from services.ops.embedded import stack
from services.ops.embedded.state import load
from services.ops.up import DirectoryOption


def down(state: DirectoryOption = DEFAULT_STATE) -> None:
    """End every process of a stack that `callfold up` started; its data stays.

    Also those that a killed supervisor left behind.

    Exit status: 0 when none is left, also when none was there.
    """
    if not (state / "stack.json").exists():
        typer.echo(f"Nothing runs: there is no stack in {state}.")
        return
    ended = stack.stop(load(state))
    typer.echo("Ended." if ended else f"Nothing runs in {state}.")

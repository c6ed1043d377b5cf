"""`callfold down`: the end of every process of a stack."""

import typer

from services.ops.commands.up import DirectoryOption
from services.ops.embedded.state import plan
from services.ops.terminal.failure import Failure
from services.ops.terminal.program import DEFAULT_STATE
from shared.extras import needs_extra


def down(state: DirectoryOption = DEFAULT_STATE) -> None:
    """End every process of a stack that `callfold up` started; its data stays.

    Also those that a killed supervisor left behind.

    Exit status: 0 when none is left, also when none was there.
    """
    with needs_extra("embedded", "This command", Failure):
        from services.ops.embedded import stack
    ended = state.is_dir() and stack.stop(plan(state))
    typer.echo("Ended." if ended else f"Nothing runs in {state}.")

"""`callfold down`: stops every process of a stack."""

import typer

from services.ops.commands.up import DirectoryOption
from services.ops.embedded.state import plan
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption
from services.ops.terminal.printing import print_json
from services.ops.terminal.program import DEFAULT_STATE
from shared.extras import needs_extra


def down(state: DirectoryOption = DEFAULT_STATE, as_json: JsonOption = False) -> None:
    """Stop every process of a stack that `callfold up` started, and keep its data.

    Processes that a killed supervisor left running are stopped as well.

    Exit status: 0 when no process of the stack is left, also when none was running.
    """
    with needs_extra("embedded", "This command", Failure):
        from services.ops.embedded import stack
    stopped = state.is_dir() and stack.stop(plan(state))
    if as_json:
        print_json({"stopped": stopped})
    else:
        typer.echo("Stopped." if stopped else f"No stack is running in {state}.")

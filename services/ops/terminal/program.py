"""The name under which this program was called, so that suggested commands can be pasted unchanged."""

import os
import shlex
from pathlib import Path
from typing import Final
from uuid import UUID

DEFAULT_STATE: Final = Path(".callfold")


def suggestion(*arguments: str | UUID, state: Path | None = None) -> str:
    """A command line as part of a sentence."""
    return f"`{command_line(*arguments, state=state)}`"


def command_line(*arguments: str | UUID, state: Path | None = None) -> str:
    """A command line, quoted; with the state directory where it is not the default."""
    program = os.environ.get("CALLFOLD_PROGRAM", "callfold")
    of_stack = () if state is None or is_default(state) else ("--state", str(state))
    return shlex.join([program, *map(str, arguments), *of_stack])


def is_default(state: Path) -> bool:
    """Whether this is the default state directory."""
    return state.resolve() == DEFAULT_STATE.resolve()

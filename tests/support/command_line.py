"""The operator's commands, run as the command line runs them."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from typer.testing import CliRunner, Result

from services.ops.main import app_of
from services.ops.terminal.failure import Failure
from tests.support.left_open import forget_what_is_left_open


@dataclass(frozen=True)
class Done:
    """The output of a command, its messages on standard error, and its exit status. After an expected fault,
    `failure` has its text and the status is 1."""

    status: int
    output: str
    failure: str
    errors: str = ""

    @property
    def json(self) -> Any:
        """The output, which must be one JSON document."""
        return json.loads(self.output)


async def callfold(*arguments: str | UUID, **settings: str) -> Done:
    """Runs a command in this process, with these settings and no other addresses."""
    return await callfold_reading(b"", *arguments, **settings)


async def callfold_reading(standard_input: bytes, *arguments: str | UUID, **settings: str) -> Done:
    """Runs a command with this text on standard input."""
    environment: dict[str, str | None] = {
        "CALLFOLD_DATABASE_URL": None,
        "CALLFOLD_KAFKA_BOOTSTRAP": None,
        "CALLFOLD_PROGRAM": None,
    }
    environment |= {f"CALLFOLD_{name.upper()}": value for name, value in settings.items()}
    words = [str(argument) for argument in arguments]
    result = await asyncio.to_thread(_run, words, environment, standard_input)
    if result.exception is not None and not isinstance(result.exception, Failure | SystemExit):
        raise result.exception
    failure = str(result.exception) if isinstance(result.exception, Failure) else ""
    return Done(result.exit_code, result.stdout, failure, result.stderr)


def _run(arguments: list[str], environment: dict[str, str | None], standard_input: bytes) -> Result:
    result = CliRunner().invoke(app_of(arguments), arguments, input=standard_input, env=environment)
    forget_what_is_left_open()
    return result

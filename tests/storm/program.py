"""The operator's command line, run as a real process in the middle of the storm."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from tests.storm.stage import Stage, StormBroke

LONGEST_SECONDS: Final = 180
PROGRAM: Final = Path(sys.executable).parent / "callfold"


async def callfold(stage: Stage, *arguments: str) -> Any:
    """What a command answered, as JSON; None when it gave up, which it must do with one sentence. Raises
    StormBroke when it ends in another way."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *(*arguments, "--json"),
        env={
            **os.environ,
            "CALLFOLD_DATABASE_URL": stage.grounds.database_url,
            "CALLFOLD_KAFKA_BOOTSTRAP": stage.grounds.bootstrap,
            "CALLFOLD_TOPIC": stage.topic,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    command = f"callfold {' '.join(arguments)}"
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        raise StormBroke(f"{command} did not end in {LONGEST_SECONDS} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = errors.decode().strip()
    if process.returncode == 1 and said.rpartition("\n")[2].startswith("Error: ") and "Traceback" not in said:
        stage.note(f"{command} gave up: {said}")
        stage.checked[f"{arguments[0]} gave up"] += 1
        return None
    if process.returncode not in (0, 1) or "Traceback" in said or not output:
        raise StormBroke(f"{command} ended with {process.returncode}: {output.decode()[:2_000]} {said}")
    stage.checked[arguments[0]] += 1
    return json.loads(output)

"""The operator's command line, run as a real process during the storm."""

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
    """Returns the JSON output of a command, or None if it failed with a one-line error. Raises StormBroke on
    any other exit."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *(*arguments, "--json"),
        env={
            **os.environ,
            "CALLFOLD_DATABASE_URL": stage.grounds.database_url,
            "CALLFOLD_KAFKA_BOOTSTRAP": stage.grounds.bootstrap,
            "CALLFOLD_TOPIC": stage.topic,
            "CALLFOLD_CALLS_TOPIC": stage.calls_topic,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    name = f"{arguments[0]} --topic" if "--topic" in arguments else arguments[0]
    command = f"callfold {' '.join(arguments)}"
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        raise StormBroke(f"{command} did not exit within {LONGEST_SECONDS} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = errors.decode().strip()
    if process.returncode == 1 and said.rpartition("\n")[2].startswith("Error: ") and "Traceback" not in said:
        stage.note(f"{command} gave up: {said}")
        stage.checked[f"{name} gave up"] += 1
        return None
    if process.returncode not in (0, 1) or "Traceback" in said or not output:
        raise StormBroke(
            f"{command} exited with status {process.returncode}: {output.decode()[:2_000]} {said}"
        )
    stage.checked[name] += 1
    return json.loads(output)

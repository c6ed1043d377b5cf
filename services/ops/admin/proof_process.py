"""The process of a proof: `callfold verify` beside the API, whose event loop must not fold every call."""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from shared.settings.base import PREFIX

STOP_SECONDS: Final = 2
_EXPECTED: Final = (0, 1)
"""The exit statuses of `verify`: proved, or not."""
_ERROR: Final = "Error: "
"""How the sentence of an expected fault begins, which has no content."""
_TRACEBACK: Final = b"Traceback (most recent call last)"

log = logging.getLogger("callfold.api")


class ProofProcess:
    """At most one running process of `verify`."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self, proof_id: UUID) -> None:
        """Starts the proof that `begin_proof` has stored. The caller has stopped the one before. Raises
        OSError."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(["-P"] if sys.flags.safe_path else []),
            *("-m", "services.ops.main", "verify", "--json", "--record-as", str(proof_id)),
            env=self._environment(os.environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._watch = asyncio.create_task(_warn_of_failure(self._process))

    async def stop(self) -> None:
        """Ends the process, if it runs."""
        process = self._process
        if process is None or self._watch is None:
            return
        if process.returncode is None:
            self._watch.cancel()
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables of the API, with the operator's database and without the token."""
        others = f"{PREFIX}ADMIN_"
        kept = {name: value for name, value in given.items() if not name.upper().startswith(others)}
        return {**kept, f"{PREFIX}DATABASE_URL": self._database_url}


async def _warn_of_failure(process: asyncio.subprocess.Process) -> None:
    """Logs why a proof has no result. A traceback is not logged, because it may quote rows."""
    _, said = await process.communicate()
    last_line = said.decode(errors="replace").strip().rpartition("\n")[2]
    if last_line.startswith(_ERROR):
        log.warning("a proof failed: %s", last_line.removeprefix(_ERROR))
    elif process.returncode not in _EXPECTED or _TRACEBACK in said:
        log.warning("the process of a proof ended with status %s", process.returncode)

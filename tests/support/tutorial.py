"""Runs the commands of a tutorial in one shell, as its reader types them, and compares their output.

A block of `sh` has commands that must succeed, and a block of `sh fails` a command that must fail. A block
of `text` right after it has the output: `…` stands for any text.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(r"^( *)```(sh|sh fails|text)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_DONE: Final = "tutorial-step-done"
_STEP_SECONDS: Final = 120
_APPEARS_SECONDS: Final = 30


@dataclass(frozen=True)
class Step:
    """Commands and their output. `output` is empty if the page does not show it."""

    commands: str
    output: str
    fails: bool = False

    @property
    def only_reads(self) -> bool:
        """Whether the commands may run again until they print what the page shows: events take a moment."""
        return self.commands.startswith("curl ") and "DELETE" not in self.commands


def steps_of(page: Path) -> list[Step]:
    """The steps of a page in their order."""
    blocks = [
        (kind, re.sub(rf"(?m)^{indent}", "", text)) for indent, kind, text in _BLOCK.findall(page.read_text())
    ]
    following = [*blocks[1:], ("sh", "")]
    return [
        Step(commands, output if kind == "text" else "", fails=own == "sh fails")
        for (own, commands), (kind, output) in zip(blocks, following, strict=True)
        if own != "text"
    ]


async def follow(
    page: Path, folder: Path, *, instead: Mapping[str, str], environment: Mapping[str, str]
) -> None:
    """Types each step into one shell in `folder`. `instead` maps addresses of the page to this machine's.
    Raises AssertionError at the first step whose output differs from the page."""
    shell = await asyncio.create_subprocess_exec(
        "bash",
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**20,
    )
    try:
        for step in steps_of(page):
            await _take(shell, step, instead)
    finally:
        if shell.stdin:
            shell.stdin.write(b"kill $(jobs -p); exit\n")
        await asyncio.wait_for(shell.communicate(), _STEP_SECONDS)


async def _take(shell: asyncio.subprocess.Process, step: Step, instead: Mapping[str, str]) -> None:
    commands, expected = step.commands, step.output
    for ours, theirs in instead.items():
        commands, expected = commands.replace(ours, theirs), expected.replace(ours, theirs)
    deadline = time.monotonic() + _APPEARS_SECONDS
    while True:
        printed, failed = await _run(shell, commands)
        if failed is step.fails and (not expected or _fits(expected, printed)):
            return
        if not step.only_reads or time.monotonic() > deadline:
            outcome = "failed" if failed else "succeeded"
            raise AssertionError(f"{commands}\n{outcome}, and printed:\n{printed}\nin place of:\n{expected}")


async def _run(shell: asyncio.subprocess.Process, commands: str) -> tuple[str, bool]:
    """The output of the commands, and whether one of them failed."""
    assert shell.stdin
    assert shell.stdout
    watched = f"failed=0; trap 'failed=1' ERR\n{commands}\ntrap - ERR; printf '\\n%s %s\\n' {_DONE} $failed\n"
    shell.stdin.write(watched.encode())
    await shell.stdin.drain()
    lines: list[str] = []
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            while not (line := (await shell.stdout.readline()).decode()).startswith(_DONE):
                assert line, "the shell exited"
                lines.append(line)
    except (TimeoutError, AssertionError) as error:
        raise AssertionError(f"{commands}\ndid not end; it printed:\n{''.join(lines)}") from error
    return "".join(lines), line != f"{_DONE} 0\n"


def _fits(expected: str, printed: str) -> bool:
    """Whether the output is the expected one, apart from the ends of lines."""
    pattern = ".*".join(re.escape(part) for part in _trimmed(expected).split("…"))
    return re.fullmatch(pattern, _trimmed(printed), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())

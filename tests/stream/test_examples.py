"""The programs of docs/how-to/follow-changes.md, run as a reader would run them."""

import asyncio
import re
import shutil
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from shared.database.connection import Connection
from tests.stream.conftest import Running, StartApi, Told
from tests.support import seed
from tests.support.processes import until
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "how-to" / "follow-changes.md").read_text()
SECTION = PAGE.partition("## Stream the changes over HTTP")[2]
FOLLOW = "follow({url}, {key}, (event, data) => console.log(event, data.id, data.status));"


def code(language: str) -> str:
    """The section's only program in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(found)


@asynccontextmanager
async def running(*words: str) -> AsyncIterator[tuple[Process, bytearray]]:
    """A program, and what it has printed."""
    program = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    printed = bytearray()

    async def read() -> None:
        assert program.stdout is not None
        while some := await program.stdout.read(4096):
            printed.extend(some)

    reading = asyncio.create_task(read())
    try:
        yield program, printed
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
        await reading


async def _prints_each_change(
    start_api: StartApi, told: Told, organization_id: UUID, api: Running, words: list[str]
) -> None:
    """The program prints changes, also those that were written while no API process ran."""
    port = str(api.client.base_url.port)
    async with running(*words) as (_, printed):
        first = await _printed(told, organization_id, printed, "ringing")
        api.service.kill()
        await told.changed(organization_id, first, status="busy")
        restarted = await start_api(api_port=port)
        await until(lambda: f"call.changed {first} busy".encode() in printed, "the program to resume")
        await told.deleted(organization_id, first)
        await until(lambda: f"call.deleted {first}".encode() in printed, "the deletion")
        restarted.service.kill()


async def _printed(told: Told, organization_id: UUID, printed: bytearray, status: str) -> UUID:
    """A call that the program has printed. It may not have opened its stream before the first ones."""
    calls: list[UUID] = []

    async def is_printed() -> bool:
        calls.append(await told.changed(organization_id, status=status))
        return b"call.changed" in printed

    await until(is_printed, "the program to print a change")
    return next(call for call in calls if str(call).encode() in printed)


async def test_the_program_in_python(
    start_api: StartApi, told: Told, database: Connection, tmp_path: Path
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    program = tmp_path / "follow.py"
    written = code("python").replace("kros_live_…", acme.key)
    program.write_text(written.replace("http://127.0.0.1:8000", str(api.client.base_url)))
    await _prints_each_change(start_api, told, acme.id, api, [sys.executable, "-u", str(program)])


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
async def test_the_program_in_a_browser(
    start_api: StartApi, told: Told, database: Connection, tmp_path: Path
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    program = tmp_path / "follow.mjs"
    call = FOLLOW.format(url=repr(str(api.client.base_url)), key=repr(acme.key))
    program.write_text(f"{code('javascript')}\n{call}\n")
    await _prints_each_change(start_api, told, acme.id, api, ["node", str(program)])


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_command_line(start_api: StartApi, told: Told, database: Connection) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    (line,) = re.findall(r"^    (curl .*)$", SECTION, re.MULTILINE)
    filled = line.replace("$KEY", acme.key).replace("$URL", str(api.client.base_url).rstrip("/"))
    async with running("sh", "-c", f"exec {filled} --silent") as (_, printed):
        await until(lambda: printed.startswith(b"retry: "), "the first line")
        call_id = await told.changed(acme.id, status="ringing")
        await until(lambda: str(call_id).encode() in printed, "the change")
        assert b"\nevent: call.changed\n" in printed

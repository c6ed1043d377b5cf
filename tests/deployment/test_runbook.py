"""The commands on the pages for operators: one is run, all others are parsed."""

import re
import shlex
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperGroup

from services.ops.main import command_app
from shared.database.connection import Connection
from tests.support.command_line import callfold
from tests.support.events import ORGANIZATION, value
from tests.support.ingesting import call, keyed
from tests.support.pipeline import Pipeline
from tests.support.processes import publish
from tests.support.repository import ROOT

TIME_ZONE_PAGE = ROOT / "docs" / "how-to" / "change-a-time-zone.md"
DAYS = """
SELECT day::text || ': ' || sum(calls) AS line
FROM (SELECT day, calls FROM daily_call_counts UNION ALL SELECT day, calls FROM daily_call_deltas) AS counted
GROUP BY day HAVING sum(calls) <> 0 ORDER BY day
"""


async def calls_by_day(database: Connection) -> list[str]:
    return [row["line"] for row in await database.fetch(DAYS)]


def command(time_zone: str) -> list[str]:
    """The arguments of the page's command, with its placeholders filled in."""
    found = re.search(
        r"tests/deployment/test_runbook.py runs this. -->\n\n +callfold (.*)\n", TIME_ZONE_PAGE.read_text()
    )
    assert found
    return shlex.split(found[1].replace("TIME_ZONE", time_zone).replace("ORGANIZATION", str(ORGANIZATION)))


async def test_a_wrong_time_zone_is_repaired(
    pipeline: Pipeline, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """Events arrived before an operator created the organization, so ingest created it in UTC. Ingest keeps
    running."""
    late = [
        value("call.initiated", call_id=at, timestamp=at, direction="outbound", latency_ms=5)
        for at in ("2026-11-23T23:30:00Z", "2026-11-23T12:00:00Z")
    ]
    await pipeline.publish(keyed([*late, *call(0)]))
    pipeline.start()
    await pipeline.consumed()
    assert await calls_by_day(database) == ["2026-11-23: 2", "2026-11-24: 1"]

    for _ in range(2):  # the second run changes nothing
        done = await callfold(*command("Europe/Berlin"), database_url=database_url)
        assert done.status == 0, done.failure
        assert await calls_by_day(database) == ["2026-11-23: 1", "2026-11-24: 2"]
        await pipeline.assert_proved()

    await publish(
        bootstrap, topic, [value("call.completed", id="2", call_id="2026-11-23T23:30:00Z", duration=3)]
    )
    await pipeline.consumed()
    assert await calls_by_day(database) == ["2026-11-23: 1", "2026-11-24: 2"]
    await pipeline.assert_proved()


def written_commands() -> Iterator[str]:
    """Every callfold command on the pages, on its own line or within a sentence."""
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        text = page.read_text()
        yield from re.findall(r"^ {4,}[^#`\n]*?\bcallfold ([a-z][^#|>;`\n]*)", text, re.MULTILINE)
        yield from re.findall(r"`(?:\./)?callfold\s+([a-z][^`;]*)[^`]*`", text)


@pytest.mark.parametrize("written", sorted(set(written_commands())))
def test_every_command_of_the_pages_is_there_with_its_options(written: str) -> None:
    words = written.split()
    if words[0] in ("python", "callfold"):  # the image of that name, and commands run in it
        return
    command = typer.main.get_command(command_app())
    while isinstance(command, TyperGroup) and words:
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options

"""`callfold notes` lists the events from which a field was left out."""

from uuid import UUID

import pytest

from shared.calls.event import Event
from shared.database.connection import Connection
from tests.support.command_line import callfold
from tests.support.events import ORGANIZATION, event
from tests.support.storing import stored

OTHER = UUID(int=7)
DURATION = "data.duration: expected a number from 0 to 2,147,483,647; left out"


def end(id: str, organization_id: UUID = ORGANIZATION, **data: object) -> Event:
    return event("call.completed", id=id, organization_id=organization_id, call_id=UUID(int=int(id)), **data)


@pytest.fixture
async def noted(database: Connection, database_url: str) -> str:
    await stored(
        database,
        end("1", duration=60),
        end("2", duration=-1, cost="free"),
        end("3", duration=-1),
        end("4", OTHER, direction="sideways"),
    )
    return database_url


async def test_each_event_is_listed_with_its_notes(noted: str) -> None:
    listed = await callfold("notes", "--organization", ORGANIZATION, "--json", database_url=noted)
    assert [(one["id"], one["type"], one["notes"]) for one in listed.json] == [
        ("2", "call.completed", [DURATION, "data.cost: expected a number; left out"]),
        ("3", "call.completed", [DURATION]),
    ]
    assert listed.json[0]["occurred_at"] == "2026-11-24T12:00:00Z"
    printed = await callfold("notes", "--limit", "1", database_url=noted)
    assert "call.completed" in printed.output


async def test_events_are_counted_by_field(noted: str) -> None:
    listed = await callfold("notes", "--by-field", "--json", database_url=noted)
    assert [(one["events"], one["field"]) for one in listed.json] == [
        (2, "data.duration"),
        (1, "data.cost"),
        (1, "data.direction"),
    ]
    assert listed.json[0]["rule"] == DURATION.partition(": ")[2]
    of_field = await callfold("notes", "--field", "data.direction", "--json", database_url=noted)
    assert [one["id"] for one in of_field.json] == ["4"]


async def test_an_unknown_field_is_refused(database_url: str) -> None:
    refused = await callfold("notes", "--field", "duration", database_url=database_url)
    assert refused.status == 1
    assert refused.failure.startswith("--field must be one of livemode, data, data.from_number")

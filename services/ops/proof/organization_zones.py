"""The time zones of the organizations, for the proof."""

from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from services.ops.proof.chunks import STATEMENT_SECONDS
from services.ops.proof.difference import Difference, Findings
from services.ops.proof.part import Part
from shared.calls.zones import UTC, find_time_zone, has_other_rules
from shared.database.connection import Connection


class Zone(NamedTuple):
    """An organization's time zone, and whether other rules of that zone last placed its calls."""

    rules: ZoneInfo
    placed_by_others: bool


NO_ORGANIZATION: Final = Zone(UTC, placed_by_others=False)


async def read_zones(connection: Connection, part: Part, found: Findings) -> dict[UUID, Zone]:
    """The time zone of each organization. An unknown name is a difference, and counts as UTC."""
    zones: dict[UUID, Zone] = {}
    rows = await connection.fetch(part.statements.zones, part.argument, timeout=STATEMENT_SECONDS)
    for some_id, name, recorded in rows:
        zone = find_time_zone(name)
        if zone is None:
            must = {"time_zone": "an IANA name"}
            found.add(Difference("organization", some_id, {"time_zone": name}, must))
        zones[some_id] = Zone(zone or UTC, has_other_rules(name, recorded))
    return zones

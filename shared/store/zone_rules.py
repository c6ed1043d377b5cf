"""Organizations whose calls have days and hours by other time-zone rules than this process's.

`organizations.zone_rules` holds the rules by which an organization's calls were last placed, in the form of
`shared.calls.zones.zone_rules`.
"""

from collections.abc import Sequence
from logging import Logger
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from shared.calls.zones import RULES_VERSION, has_same_rules, zone_rules

if TYPE_CHECKING:
    from shared.database.connection import AnyConnection

_ZONES_NAMED: Final = 5


class OtherRules(NamedTuple):
    """Organizations with one time zone, whose calls were placed by the same other rules. `zone_rules` is None
    if the rules were not recorded."""

    time_zone: str
    zone_rules: str | None
    organizations: int


class Unplaced(NamedTuple):
    """One organization whose calls were placed by other rules, with the values read from its row."""

    organization_id: UUID
    time_zone: str
    zone_rules: str | None


async def other_rules(connection: "AnyConnection") -> Sequence[OtherRules] | None:
    """The organizations whose calls were placed by other rules, grouped, ordered by time zone; None while the
    tables do not have the function yet, or the role may not call it. Raises asyncpg's errors."""
    if not await connection.fetchval(_MAY_ASK):
        return None
    groups = [OtherRules(*row) for row in await connection.fetch(_GROUPS)]
    return [group for group in groups if not has_same_rules(group.time_zone, group.zone_rules)]


async def warn_of_other_rules(connection: "AnyConnection", logger: Logger) -> bool:
    """Logs one warning if calls were placed by other rules. Returns whether it could check. Raises asyncpg's
    errors."""
    groups = await other_rules(connection)
    if groups:
        zones = sorted({group.time_zone for group in groups})
        more = f" and {len(zones) - _ZONES_NAMED:,} more" if len(zones) > _ZONES_NAMED else ""
        organizations = sum(group.organizations for group in groups)
        logger.warning(
            "other time-zone rules than %s placed the calls of %d organization%s (time zones: %s%s): "
            "run `callfold refold`",
            RULES_VERSION,
            organizations,
            "" if organizations == 1 else "s",
            ", ".join(zones[:_ZONES_NAMED]),
            more,
        )
    return groups is not None


async def unplaced(connection: "AnyConnection", organization_id: UUID | None) -> Sequence[Unplaced]:
    """The organizations whose calls were placed by other rules, in the order of their ids; or only this one.
    Raises asyncpg's errors."""
    rows = [Unplaced(*row) for row in await connection.fetch(_ROWS, organization_id)]
    return [row for row in rows if not has_same_rules(row.time_zone, row.zone_rules)]


async def record_placed(connection: "AnyConnection", organizations: Sequence[Unplaced]) -> None:
    """Records that the calls of these organizations are placed by the current rules. An organization whose
    time zone or rules changed since they were read is left as it is. Raises asyncpg's errors."""
    if organizations:
        rules = [zone_rules(one.time_zone) for one in organizations]
        await connection.execute(_RECORD, *zip(*organizations, strict=True), rules)


_MAY_ASK: Final = """
SELECT coalesce(has_function_privilege(to_regprocedure('callfold_zone_rules()'), 'EXECUTE'), false)
"""

_GROUPS: Final = """
SELECT time_zone, zone_rules, organizations FROM callfold_zone_rules() ORDER BY time_zone, zone_rules
"""

_ROWS: Final = """
SELECT id, time_zone, zone_rules FROM organizations WHERE $1::uuid IS NULL OR id = $1 ORDER BY id
"""

_RECORD: Final = """
UPDATE organizations SET zone_rules = placed.rules
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS placed(id, time_zone, zone_rules, rules)
WHERE organizations.id = placed.id AND organizations.time_zone = placed.time_zone
    AND organizations.zone_rules IS NOT DISTINCT FROM placed.zone_rules
"""

"""The counts: what every total, share and sum is answered from."""

from typing import Final

from shared.count import Cell, Measures

_ASKED: Final = """
WHERE organization_id = $1 AND livemode = $2
    AND ($3::date IS NULL OR day >= $3)
    AND ($4::date IS NULL OR day <= $4)
    AND ($5::text[] IS NULL OR status = ANY ($5))
    AND ($6::text IS NULL OR direction = $6)
    AND ($7::uuid IS NULL OR phone_number_id = $7)
"""
_COLUMNS: Final = ", ".join((*Cell._fields, *Measures._fields))
_TOTAL_COLUMNS: Final = _COLUMNS.replace("phone_number_id", "NULL::uuid AS phone_number_id")
_HAS_TOTALS: Final = "(SELECT has_totals FROM organizations WHERE id = $1)"

# The counts and the changes not yet applied to them, in one statement and so in one snapshot: exact with or
# without an aggregator running. The planner pushes the WHERE into each table.
CELLS: Final = f"""
(
    SELECT {_COLUMNS} FROM daily_call_counts
    UNION ALL
    SELECT {_COLUMNS} FROM daily_call_deltas
) AS cells
{_ASKED}
"""  # noqa: S608 - made of constants
"""The asked cells, to follow FROM; its parameters are `Filters`."""

TOTALS: Final = f"""
(
    SELECT {_TOTAL_COLUMNS} FROM daily_call_totals WHERE {_HAS_TOTALS}
    UNION ALL
    SELECT {_COLUMNS} FROM daily_call_counts WHERE NOT {_HAS_TOTALS}
    UNION ALL
    SELECT {_COLUMNS} FROM daily_call_deltas
) AS cells
{_ASKED}
"""  # noqa: S608 - made of constants
"""The same without phone numbers, from far fewer rows: none may be asked for."""

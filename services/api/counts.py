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
_HAS_TOTALS: Final = "(SELECT has_totals FROM organizations WHERE id = $1)"


def counted_rows(columns: str, *, by_phone_number: bool) -> str:
    """These columns of the counts and of the changes not yet applied to them, in one statement and so in one
    snapshot: exact with or without an aggregator running. The planner pushes a WHERE around it into each
    table. Where no phone number is asked for, it is null, and far fewer rows are read."""
    deltas = f"SELECT {columns} FROM daily_call_deltas"  # noqa: S608 - made of constants, as all that follows
    if by_phone_number:
        return f"SELECT {columns} FROM daily_call_counts UNION ALL {deltas}"  # noqa: S608
    of_totals = columns.replace("phone_number_id", "NULL::uuid AS phone_number_id")
    return f"""
        SELECT {of_totals} FROM daily_call_totals WHERE {_HAS_TOTALS}
        UNION ALL
        SELECT {columns} FROM daily_call_counts WHERE NOT {_HAS_TOTALS}
        UNION ALL
        {deltas}
    """  # noqa: S608


CELLS: Final = f"({counted_rows(_COLUMNS, by_phone_number=True)}) AS cells {_ASKED}"
"""The asked cells, to follow FROM; its parameters are `Filters`."""

TOTALS: Final = f"({counted_rows(_COLUMNS, by_phone_number=False)}) AS cells {_ASKED}"
"""The same without phone numbers, from far fewer rows: none may be asked for."""

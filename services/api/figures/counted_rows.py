"""The rows of counts: every total, share and sum is computed from them."""

from typing import Final

from shared.counts.cell import Cell, Measures

IN_DAYS: Final = """
organization_id = :organization_id AND livemode = :livemode
    AND (:start_date::date IS NULL OR day >= :start_date)
    AND (:end_date::date IS NULL OR day <= :end_date)
    AND (:phone_number_id::uuid IS NULL OR phone_number_id = :phone_number_id)
"""
"""The cells of the requested days and phone number, of every status and direction."""
OF_KIND: Final = """
(:status::text[] IS NULL OR status = ANY (:status)) AND (:direction::text IS NULL OR direction = :direction)
"""
"""The cells of the requested status and direction."""
_COLUMNS: Final = ", ".join((*Cell._fields, *Measures._fields))
_HAS_TOTALS: Final = "(SELECT has_totals FROM organizations WHERE id = :organization_id)"


def counted_rows(columns: str, *, by_phone_number: bool) -> str:
    """These columns of the counts and of the deltas that are not applied yet. One statement reads both in one
    snapshot, so the result is exact with or without a running aggregator. The planner pushes a WHERE around
    it into each table. If no phone number is requested, that column is null and far fewer rows are read."""
    deltas = f"SELECT {columns} FROM daily_call_deltas"
    if by_phone_number:
        return f"SELECT {columns} FROM daily_call_counts UNION ALL {deltas}"
    of_totals = columns.replace("phone_number_id", "NULL::uuid AS phone_number_id")
    return f"""
        SELECT {of_totals} FROM daily_call_totals WHERE {_HAS_TOTALS}
        UNION ALL
        SELECT {columns} FROM daily_call_counts WHERE NOT {_HAS_TOTALS}
        UNION ALL
        {deltas}
    """


_CELLS: Final = {
    by_phone_number: f"({counted_rows(_COLUMNS, by_phone_number=by_phone_number)}) AS cells"
    for by_phone_number in (True, False)
}


def cells(*, by_phone_number: bool, of_days: bool = False) -> str:
    """The requested cells, to follow FROM. The parameters are those of `Filters`. Without `by_phone_number`,
    the filters must not have a phone number, and far fewer rows are read. With `of_days`, only cells of
    `:days` are requested. An index then finds them, even with a generic plan."""
    on_days = " AND day = ANY (:days)" if of_days else ""
    return f"{_CELLS[by_phone_number]} WHERE {IN_DAYS} AND {OF_KIND}{on_days}"

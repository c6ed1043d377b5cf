"""The counts: what every total, share and sum is answered from."""

from typing import Final

# The counts and the changes not yet applied to them, in one statement and so in one snapshot: exact with or
# without an aggregator running. The planner pushes the WHERE into both tables.
CELLS: Final = """
(
    SELECT organization_id, livemode, day, direction, phone_number_id, status,
        calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls
    FROM daily_call_counts
    UNION ALL
    SELECT organization_id, livemode, day, direction, phone_number_id, status,
        calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls
    FROM daily_call_deltas
) AS cells
WHERE organization_id = $1 AND livemode = $2
    AND ($3::date IS NULL OR day >= $3)
    AND ($4::date IS NULL OR day <= $4)
    AND ($5::text[] IS NULL OR status = ANY ($5))
    AND ($6::text IS NULL OR direction = $6)
    AND ($7::uuid IS NULL OR phone_number_id = $7)
"""
"""The asked cells, to follow FROM; its parameters are `Filters`."""

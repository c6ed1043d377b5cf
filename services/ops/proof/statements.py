"""The statements of the proof. The first parameter of each is an organization, or null for all."""

from typing import Final

from shared.calls.named_call import SEVERAL_CALLS
from shared.counts.cell import CALL_COLUMNS, PACKED_DIGITS, Measures
from shared.counts.counted_sql import CELL, COUNTED, MEASURES, TOTAL
from shared.store.quarantine import HAS_CONTENT

_SUMS: Final = ", ".join(
    f"sum({name}) AS {name}"
    if name == "cost_cents" or name in PACKED_DIGITS
    else f"sum({name})::bigint AS {name}"
    for name in Measures._fields
)
_KEPT: Final = ", ".join(f"coalesce(kept.{name}, 0) AS kept_{name}" for name in Measures._fields)
_RECOUNTED: Final = ", ".join(f"coalesce(recount.{name}, 0) AS true_{name}" for name in Measures._fields)
_BOTH: Final = ", ".join(f"{side}_{name}" for side in ("kept", "true") for name in Measures._fields)
OFF: Final = " OR ".join(f"kept_{name} <> true_{name}" for name in Measures._fields)

PLAN_FOR_THE_WHOLE: Final = """
SET LOCAL cursor_tuple_fraction = 1;
SET LOCAL work_mem = '64MB';
SET LOCAL jit = off;
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""

SNAPSHOT: Final = """
SELECT statement_timestamp(),
       (SELECT count(*) FROM daily_call_deltas WHERE $1::uuid IS NULL OR organization_id = $1),
       (SELECT count(*) FROM deleted_calls WHERE $1::uuid IS NULL OR organization_id = $1),
       (SELECT reltuples::bigint FROM pg_class WHERE oid = 'calls'::regclass)
"""

ZONES: Final = "SELECT id, time_zone, zone_rules FROM organizations WHERE $1::uuid IS NULL OR id = $1"


def compared(where: str) -> str:
    """The beginning of a statement, which defines two common table expressions.

    `compared` has the cells for which a condition over the columns of a cell holds. `kept_…` are the values
    of the counts and deltas. `true_…` are the correct values: a recount of the calls and of the pruned calls
    that stay counted. `compared_totals` has the same for the totals."""
    return f"""
WITH kept AS (
    SELECT {CELL}, {_SUMS}
    FROM (SELECT {CELL}, {MEASURES} FROM daily_call_counts WHERE {where}
          UNION ALL
          SELECT {CELL}, {MEASURES} FROM daily_call_deltas WHERE {where}) AS part
    GROUP BY {CELL}
), recount AS (
    SELECT {CELL}, {_SUMS}
    FROM (SELECT {CELL}, {_SUMS} FROM (SELECT {COUNTED} FROM calls WHERE {where}) AS call GROUP BY {CELL}
          UNION ALL
          SELECT {CELL}, {MEASURES} FROM pruned_call_counts WHERE {where}) AS part
    GROUP BY {CELL}
), compared AS (
    SELECT {CELL}, {_KEPT}, {_RECOUNTED} FROM kept FULL JOIN recount USING ({CELL})
), kept_totals AS (
    SELECT {TOTAL}, {_SUMS}
    FROM (SELECT {TOTAL}, {MEASURES} FROM daily_call_totals WHERE {where}
          UNION ALL
          SELECT {TOTAL}, {MEASURES} FROM daily_call_deltas WHERE {where}) AS part
    GROUP BY {TOTAL}
), compared_totals AS (
    SELECT {TOTAL}, {_KEPT}, {_RECOUNTED}
    FROM kept_totals AS kept
    FULL JOIN (SELECT {TOTAL}, {_SUMS} FROM recount GROUP BY {TOTAL}) AS recount USING ({TOTAL})
)
"""


CELLS: Final = f"""
{compared("$1::uuid IS NULL OR organization_id = $1")}
SELECT whole.cells, off.*
FROM (SELECT count(*) AS cells FROM compared) AS whole
LEFT JOIN (
    SELECT {CELL}, {_BOTH} FROM compared WHERE {OFF}
    UNION ALL
    SELECT {CELL}, {_BOTH} FROM (SELECT *, NULL::uuid AS phone_number_id FROM compared_totals) AS total
    WHERE {OFF}
) AS off ON true
ORDER BY {CELL}
"""

# Citus refuses a LATERAL subquery without a FROM of its own. EXISTS would let PostgreSQL hash all calls.
TOMBSTONES_WITH_CALLS: Final = f"""
SELECT organization_id, call_id, calls, events, records
FROM (
    SELECT organization_id, call_id,
        (SELECT count(*) FROM calls
         WHERE calls.organization_id = deleted.organization_id AND calls.id = deleted.call_id) AS calls,
        (SELECT count(*) FROM call_events AS stored
         WHERE stored.organization_id = deleted.organization_id
           AND stored.call_id = deleted.call_id) AS events,
        (SELECT count(*) FROM quarantined_records AS record
         WHERE record.organization_id = deleted.organization_id
           AND record.call_id = deleted.call_id AND {HAS_CONTENT}) AS records
    FROM deleted_calls AS deleted
) AS found
WHERE ($1::uuid IS NULL OR organization_id = $1) AND (calls > 0 OR events > 0 OR records > 0)
ORDER BY organization_id, call_id
"""

# The columns of these records do not identify their calls: records of several calls, or of older versions.
QUARANTINED_OF_UNKNOWN_CALLS: Final = f"""
SELECT id, key, value FROM quarantined_records
WHERE (organization_id IS NULL AND retained_from IS NULL
       OR call_id = '{SEVERAL_CALLS}' AND ($1::uuid IS NULL OR organization_id = $1)) AND {HAS_CONTENT}
"""

# Both statements get the same sample, because one seed gives one sample in one snapshot.
_SAMPLE: Final = "TABLESAMPLE BERNOULLI ($2) REPEATABLE ($3)"

_CALL: Final = ", ".join(CALL_COLUMNS)
_EVENT: Final = (
    "stored.organization_id, stored.call_id, stored.id, stored.type, occurred_at, "
    "callfold_payload(payload, stored.type, stored.organization_id, stored.call_id) AS payload"
)
_ASKED: Final = "$1::uuid IS NULL OR organization_id = $1"

CALLS: Final = f"SELECT {_CALL} FROM calls WHERE {_ASKED} ORDER BY organization_id, id"

EVENTS: Final = f"""
SELECT {_EVENT} FROM call_events AS stored WHERE {_ASKED} ORDER BY organization_id, call_id
"""

SAMPLED_CALLS: Final = f"""
SELECT {_CALL} FROM calls {_SAMPLE} WHERE {_ASKED} ORDER BY organization_id, id
"""

SAMPLED_EVENTS: Final = f"""
SELECT {_EVENT}
FROM (SELECT organization_id, id FROM calls {_SAMPLE} WHERE {_ASKED}) AS sampled
JOIN call_events AS stored
    ON stored.organization_id = sampled.organization_id AND stored.call_id = sampled.id
ORDER BY stored.organization_id, stored.call_id
"""

CALLS_COUNT: Final = f"SELECT count(*) FROM calls WHERE {_ASKED}"

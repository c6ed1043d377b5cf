"""The statements of the proof. The first parameter of each says which organizations are proved."""

from dataclasses import dataclass
from typing import Final

from shared.calls.named_call import SEVERAL_CALLS
from shared.counts.cell import CALL_COLUMNS, PACKED_DIGITS, Measures
from shared.counts.counted_sql import CELL, COUNTED, MEASURES, TOTAL
from shared.database.held_locks import AT_SERVER
from shared.store.quarantine import HAS_CONTENT

TYPED_SUMS: Final = ", ".join(
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


def compared(where: str) -> str:
    """The beginning of a statement, which defines two common table expressions.

    `compared` has the cells for which a condition over the columns of a cell holds. `kept_…` are the values
    of the counts and deltas. `true_…` are the correct values: a recount of the calls and of the pruned calls
    that stay counted. `compared_totals` has the same for the totals."""
    return f"""
WITH kept AS (
    SELECT {CELL}, {TYPED_SUMS}
    FROM (SELECT {CELL}, {MEASURES} FROM daily_call_counts WHERE {where}
          UNION ALL
          SELECT {CELL}, {MEASURES} FROM daily_call_deltas WHERE {where}) AS part
    GROUP BY {CELL}
), recount AS (
    SELECT {CELL}, {TYPED_SUMS}
    FROM (SELECT {CELL}, {TYPED_SUMS} FROM (SELECT {COUNTED} FROM calls WHERE {where}) AS call GROUP BY {CELL}
          UNION ALL
          SELECT {CELL}, {MEASURES} FROM pruned_call_counts WHERE {where}) AS part
    GROUP BY {CELL}
), compared AS (
    SELECT {CELL}, {_KEPT}, {_RECOUNTED} FROM kept FULL JOIN recount USING ({CELL})
), kept_totals AS (
    SELECT {TOTAL}, {TYPED_SUMS}
    FROM (SELECT {TOTAL}, {MEASURES} FROM daily_call_totals WHERE {where}
          UNION ALL
          SELECT {TOTAL}, {MEASURES} FROM daily_call_deltas WHERE {where}) AS part
    GROUP BY {TOTAL}
), compared_totals AS (
    SELECT {TOTAL}, {_KEPT}, {_RECOUNTED}
    FROM kept_totals AS kept
    FULL JOIN (SELECT {TOTAL}, {TYPED_SUMS} FROM recount GROUP BY {TOTAL}) AS recount USING ({TOTAL})
)
"""


@dataclass(frozen=True)
class Statements:
    """The statements for some organizations. Those of a sample still need its `percent` and its `seed`
    (`str.format`)."""

    snapshot: str
    zones: str
    cells: str
    tombstones_with_calls: str
    quarantined_of_unknown_calls: str
    calls: str
    events: str
    sampled_calls: str
    sampled_events: str


# Both statements get the same sample, because one seed gives one sample in one snapshot. Citus does not pass
# parameters of this clause on.
_SAMPLE: Final = "TABLESAMPLE BERNOULLI ({percent}) REPEATABLE ({seed})"

_CALL: Final = ", ".join(CALL_COLUMNS)
_EVENT: Final = (
    "stored.organization_id, stored.call_id, stored.id, stored.type, occurred_at, "
    "callfold_payload(payload, stored.type, stored.organization_id, stored.call_id) AS payload"
)


def _statements(
    asked: str, asked_of_organization: str, expected_calls: str, *, there: str, everywhere: str
) -> Statements:
    """The statements for a condition over `organization_id`, and the same over the id of an organization.
    `expected_calls` is an approximate number. `there` is added to FROM clauses of small tables, and
    `everywhere` to the conditions of subqueries."""
    return Statements(
        snapshot=f"""
SELECT statement_timestamp(),
       (SELECT count(*) FROM daily_call_deltas WHERE {asked}),
       (SELECT count(*) FROM deleted_calls WHERE {asked}),
       {expected_calls}
""",
        zones=f"SELECT id, time_zone, zone_rules FROM organizations{there} WHERE {asked_of_organization}",
        cells=f"""
{compared(asked)}
SELECT whole.cells, off.*
FROM (SELECT count(*) AS cells FROM compared) AS whole
LEFT JOIN (
    SELECT {CELL}, {_BOTH} FROM compared WHERE {OFF}
    UNION ALL
    SELECT {CELL}, {_BOTH} FROM (SELECT *, NULL::uuid AS phone_number_id FROM compared_totals) AS total
    WHERE {OFF}
) AS off ON true
ORDER BY {CELL}
""",
        # Citus refuses a LATERAL subquery without a FROM of its own. EXISTS would let PostgreSQL hash all
        # calls.
        tombstones_with_calls=f"""
SELECT organization_id, call_id, calls, events, records
FROM (
    SELECT organization_id, call_id,
        (SELECT count(*) FROM calls
         WHERE calls.organization_id = deleted.organization_id
           AND calls.id = deleted.call_id{everywhere}) AS calls,
        (SELECT count(*) FROM call_events AS stored
         WHERE stored.organization_id = deleted.organization_id
           AND stored.call_id = deleted.call_id{everywhere}) AS events,
        (SELECT count(*) FROM quarantined_records AS record
         WHERE record.organization_id = deleted.organization_id
           AND record.call_id = deleted.call_id AND {HAS_CONTENT}) AS records
    FROM deleted_calls AS deleted WHERE true{everywhere}
) AS found
WHERE ({asked}) AND (calls > 0 OR events > 0 OR records > 0)
ORDER BY organization_id, call_id
""",
        # The columns of these records do not identify their calls: records of several calls, or of older
        # versions.
        quarantined_of_unknown_calls=f"""
SELECT id, key, value FROM quarantined_records{there}
WHERE (organization_id IS NULL AND retained_from IS NULL
       OR call_id = '{SEVERAL_CALLS}' AND ({asked})) AND {HAS_CONTENT}
""",
        calls=f"SELECT {_CALL} FROM calls WHERE {asked} ORDER BY organization_id, id",
        events=f"""
SELECT {_EVENT} FROM call_events AS stored WHERE {asked} ORDER BY organization_id, call_id
""",
        sampled_calls=f"""
SELECT {_CALL} FROM calls {_SAMPLE} WHERE {asked} ORDER BY organization_id, id
""",
        sampled_events=f"""
SELECT {_EVENT}
FROM (SELECT organization_id, id FROM calls {_SAMPLE} WHERE {asked}) AS sampled
JOIN call_events AS stored
    ON stored.organization_id = sampled.organization_id AND stored.call_id = sampled.id
ORDER BY stored.organization_id, stored.call_id
""",
    )


OF_ONE_OR_ALL: Final = _statements(
    "$1::uuid IS NULL OR organization_id = $1",
    "$1::uuid IS NULL OR id = $1",
    "(SELECT reltuples::bigint FROM pg_class WHERE oid = 'calls'::regclass)",
    there="",
    everywhere="",
)
"""For one organization, or for all if the parameter is null."""

OF_SHARD: Final = _statements(
    "organization_id = ANY($1::uuid[])",
    "id = ANY($1::uuid[])",
    "-1",
    there=f", {AT_SERVER.format('ANY($1::uuid[])')}",
    everywhere=" AND organization_id = ANY($1::uuid[])",
)
"""For organizations of one shard of a distributed database. Its server evaluates all of them, so that they
see one snapshot."""

CALLS_COUNT: Final = "SELECT count(*) FROM calls WHERE $1::uuid IS NULL OR organization_id = $1"

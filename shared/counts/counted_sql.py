"""The cell and measures of a call in SQL: the equivalent of `shared.counts.cell.counted_as` for a row of
`calls`.

Code that subtracts or counts calls within the database (a delete, retention, a change of days, the proof)
uses these expressions. Lists of the calls that a figure counts use them as well.
tests/counts/test_counted_sql.py holds the two equal.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Final

from shared.calls.fold import FINAL, LAWS_OF_ANSWERED
from shared.calls.hangup import CAUSES, SPELLINGS, spellings_of
from shared.calls.hangup import EFFECTIVE as EFFECTIVE_CAUSES
from shared.calls.local_time import HOURS
from shared.counts.cell import (
    NO_DIRECTION,
    NO_PHONE_NUMBER,
    PACKED_DIGITS,
    UNANSWERED_EFFECTIVE,
    Cell,
    Measures,
)
from shared.counts.cell import TOTAL as TOTAL_FIELDS
from shared.counts.histogram import ANSWER_DELAYS, DURATIONS, LATENCIES

CELL: Final = ", ".join(Cell._fields)
TOTAL: Final = ", ".join(TOTAL_FIELDS)
MEASURES: Final = ", ".join(Measures._fields)
SUMS: Final = ", ".join(f"sum({name}) AS {name}" for name in Measures._fields)
NEGATED: Final = ", ".join(f"-{name}" for name in Measures._fields)

INTO_DELTAS: Final = f"INSERT INTO daily_call_deltas ({CELL}, {MEASURES})"
TAKE_AWAY: Final = f"{INTO_DELTAS} SELECT {CELL}, {NEGATED}"
"""The statement that subtracts rows from the counts, up to its FROM. The rows have a cell and measures."""


def quoted(values: Iterable[str]) -> str:
    """A list of texts, in their order, for `IN (…)`. The texts must not contain quotes."""
    return ", ".join(f"'{value}'" for value in values)


def _packed(measure: str, groups: int, group: str, count: str = "1") -> str:
    """This count in this group of a packed measure; 0 where either is null."""
    powers = ",".join(f"1e{n * PACKED_DIGITS[measure]}" for n in range(groups))
    return f"coalesce(('{{{powers}}}'::numeric[])[1 + {group}] * {count}, 0)"


def _histogram(measure: str, thresholds: Sequence[int], value: str) -> str:
    those = ",".join(map(str, thresholds))
    return _packed(measure, len(thresholds) + 1, f"width_bucket(({value})::bigint, '{{{those}}}'::bigint[])")


ANSWERED: Final = f"(answered_at IS NOT NULL OR laws >= {LAWS_OF_ANSWERED} AND status = 'completed')"
"""Whether a call was answered: law 10 of `shared.calls.fold`. Like the next three, it is never null."""
ENDED: Final = f"status IN ({quoted(sorted(FINAL))})"
SEIZURE: Final = f"({ENDED} OR {ANSWERED})"
"""Whether a call is a seizure: the divisor of ASR and NER."""
EFFECTIVE: Final = (
    f"({ANSWERED} OR status IN ({quoted(sorted(UNANSWERED_EFFECTIVE))}) OR {ENDED} "
    f"AND coalesce(hangup_cause IN ({quoted(spellings_of(EFFECTIVE_CAUSES))}), false))"
)
"""Whether a call is effective: the numerator of NER."""
_SPELLINGS: Final = json.dumps(SPELLINGS).replace("'", "''")
_INDEX: Final = f"('{_SPELLINGS}'::jsonb ->> hangup_cause)::int"
_CAUSE: Final = f"CASE WHEN hangup_cause IS NULL THEN 0 ELSE coalesce({_INDEX}, 1) END"
_DELAY: Final = "floor(extract(epoch FROM answered_at - created_at) * 1000)"

_CELL: Final = {
    **{name: name for name in Cell._fields},
    "direction": f"coalesce(direction, '{NO_DIRECTION}')",
    "phone_number_id": f"coalesce(phone_number_id, '{NO_PHONE_NUMBER}')",
}
_MEASURES: Final = {
    "calls": "1",
    "answered": f"({ANSWERED})::int",
    "duration_seconds": "coalesce(duration, 0)",
    "cost_cents": "coalesce(cost, 0)",
    "latency_ms": "coalesce(latency_ms, 0)",
    "latency_calls": "(latency_ms IS NOT NULL)::int",
    "effective": f"({EFFECTIVE})::int",
    "durations": _histogram("durations", DURATIONS, f"CASE WHEN {ANSWERED} THEN duration END"),
    "answer_delays": _histogram("answer_delays", ANSWER_DELAYS, _DELAY),
    "latencies": _histogram("latencies", LATENCIES, "latency_ms"),
    "hangup_causes": _packed("hangup_causes", len(CAUSES), f"CASE WHEN {ENDED} THEN {_CAUSE} END"),
    "hour_calls": _packed("hour_calls", HOURS, "hour"),
    "hour_answered": _packed("hour_answered", HOURS, "hour", f"({ANSWERED})::int"),
    "hour_duration_seconds": _packed("hour_duration_seconds", HOURS, "hour", "duration"),
    "hour_cost": _packed("hour_cost", HOURS, "hour", "trunc(cost * 10000)"),
}

COUNTED: Final = ", ".join(
    f"{expression} AS {name}"
    for name, expression in {**_CELL, **{name: _MEASURES[name] for name in Measures._fields}}.items()
)
"""The expressions of a call's cell and measures for a SELECT, each under its name."""

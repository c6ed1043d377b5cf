"""The cell that a call is counted in, and its measures. Pure."""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec.structs import astuple

from shared.calls.event import Direction, Status
from shared.calls.fold import FINAL, LAWS, LAWS_OF_ANSWERED, Call, is_answered
from shared.calls.hangup import CAUSES, EFFECTIVE, cause_index
from shared.calls.local_time import HOURS, LocalHour, local_hour
from shared.counts.histogram import ANSWER_DELAYS, DURATIONS, LATENCIES
from shared.counts.packed import DIGITS, NOTHING, power

NO_PHONE_NUMBER: Final = UUID(int=0)
"""Stands in a cell for calls without a phone number id: a key column is never null."""
NO_DIRECTION: Final = "unknown"


class Cell(NamedTuple):
    """The key of a count. `day` is the organization's local day."""

    organization_id: UUID
    livemode: bool
    day: date
    direction: str
    phone_number_id: UUID
    status: Status


TOTAL: Final = tuple(name for name in Cell._fields if name != "phone_number_id")
"""The key of a total: a cell without the phone number."""


class Measures(NamedTuple):
    """The measures of a cell; in a delta, what is added to them (negative: subtracted)."""

    calls: int
    answered: int
    duration_seconds: int
    cost_cents: Decimal
    latency_ms: int
    latency_calls: int
    effective: int
    """Effective calls: the numerator of the NER of ITU-T E.425 (`shared.calls.hangup`)."""
    durations: Decimal
    """Answered calls by the bucket of their duration. This and the following measures are packed
    (`shared.counts.packed`)."""
    answer_delays: Decimal
    """Answered calls by the bucket of the time from their creation to the answer."""
    latencies: Decimal
    """Calls with a latency by its bucket."""
    hangup_causes: Decimal
    """Ended calls by `shared.calls.hangup.CAUSES`."""
    hour_calls: Decimal
    """Calls by the hour of the day (`LocalHour`), 0 to 24, as the following measures."""
    hour_answered: Decimal
    hour_duration_seconds: Decimal
    hour_cost: Decimal
    """In ten thousandths of a cent."""


PACKED_DIGITS: Final[Mapping[str, int]] = {
    "durations": DIGITS,
    "answer_delays": DIGITS,
    "latencies": DIGITS,
    "hangup_causes": DIGITS,
    "hour_calls": DIGITS,
    "hour_answered": DIGITS,
    "hour_duration_seconds": 20,
    "hour_cost": 24,
}
"""The packed measures, with the number of digits of a group."""
UNANSWERED_EFFECTIVE: Final[frozenset[Status]] = frozenset({"busy", "no_answer", "canceled"})
"""The statuses of unanswered calls that are effective with any cause."""


class Counted(NamedTuple):
    """One call's cell and measures."""

    cell: Cell
    measures: Measures


def counted(call: Call, zone: ZoneInfo) -> Counted:
    """The cell and measures of a call, in an organization with this time zone."""
    return counted_at(call, local_hour(call.created_at, zone))


def counted_at(call: Call, when: LocalHour) -> Counted:
    """The cell and measures of a call at this day and hour."""
    return counted_as(
        call.organization_id,
        call.livemode,
        *when,
        call.direction,
        call.phone_number_id,
        call.status,
        call.duration,
        call.cost,
        call.latency_ms,
        call.hangup_cause,
        call.created_at,
        call.answered_at,
        LAWS,
    )


def counted_as(
    organization_id: UUID,
    livemode: bool,
    day: date,
    hour: int | None,
    direction: Direction | None,
    phone_number_id: UUID | None,
    status: Status,
    duration: int | None,
    cost: Decimal | None,
    latency_ms: int | None,
    hangup_cause: str | None,
    created_at: datetime,
    answered_at: datetime | None,
    laws: int,
) -> Counted:
    """The cell and measures of a call with these fields, which are also columns of `calls`.
    `shared/counts/counted_sql.py` computes the same in SQL. A row folded by older laws counts by them until
    it is folded again."""
    answered = int(is_answered(status, answered_at) if laws >= LAWS_OF_ANSWERED else answered_at is not None)
    cause = cause_index(hangup_cause) if status in FINAL else None
    of_hour = _OF_HOURS.get(hour, _OF_NO_HOUR)
    durations = answer_delays = NOTHING
    if answered_at is not None:
        answer_delays = _POWERS[bisect_right(ANSWER_DELAYS, (answered_at - created_at) // _MILLISECOND)]
    if answered and duration is not None:
        durations = _POWERS[bisect_right(DURATIONS, duration)]
    return Counted(
        Cell(
            organization_id,
            livemode,
            day,
            direction or NO_DIRECTION,
            phone_number_id or NO_PHONE_NUMBER,
            status,
        ),
        Measures(
            1,
            answered,
            duration or 0,
            cost or NOTHING,
            latency_ms or 0,
            int(latency_ms is not None),
            int(answered or status in UNANSWERED_EFFECTIVE or cause in EFFECTIVE),
            durations,
            answer_delays,
            NOTHING if latency_ms is None else _POWERS[bisect_right(LATENCIES, latency_ms)],
            NOTHING if cause is None else _POWERS[cause],
            of_hour.calls,
            of_hour.calls if answered else NOTHING,
            of_hour.second * duration if duration else NOTHING,
            of_hour.cost_step * int(cost.scaleb(4)) if cost else NOTHING,
        ),
    )


CALL_COLUMNS: Final = (*Call.__struct_fields__, *LocalHour._fields, "laws")
"""The columns of `calls` that hold the call, its day and hour, and the version of the laws it was folded
by."""
COUNTED_COLUMNS: Final = (
    "organization_id",
    "livemode",
    "day",
    "hour",
    "direction",
    "phone_number_id",
    "status",
    "duration",
    "cost",
    "latency_ms",
    "hangup_cause",
    "created_at",
    "answered_at",
    "laws",
)
"""The columns of `calls` that `counted_as` takes, in its order."""


def call_row(call: Call, when: LocalHour) -> tuple[object, ...]:
    """The values of `CALL_COLUMNS` for a call that was folded by this code."""
    return (*astuple(call), *when, LAWS)


class _OfHour(NamedTuple):
    """The packed value of one call, one second and one ten thousandth of a cent in an hour."""

    calls: Decimal
    second: Decimal
    cost_step: Decimal


_MILLISECOND: Final = timedelta(milliseconds=1)
_POWERS: Final = tuple(
    map(power, range(max(len(CAUSES), *map(len, (DURATIONS, ANSWER_DELAYS, LATENCIES))) + 1))
)
_OF_HOURS: Final[Mapping[int | None, _OfHour]] = {
    hour: _OfHour(
        power(hour),
        power(hour, PACKED_DIGITS["hour_duration_seconds"]),
        power(hour, PACKED_DIGITS["hour_cost"]),
    )
    for hour in range(HOURS)
}
_OF_NO_HOUR: Final = _OfHour(NOTHING, NOTHING, NOTHING)

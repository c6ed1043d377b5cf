"""The answers of stats and trends: every figure with its formula. They make the OpenAPI document, and the
tests hold the real answers to them."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

Cents = Annotated[Decimal, WithJsonSchema({"type": "number"})]
Ratio = Annotated[float, Field(ge=0)]
Day = date
"""A day, also where a field is called `date`."""

BY_STATUS_EXAMPLE = {
    "initiated": 0,
    "ringing": 1,
    "in_progress": 2,
    "completed": 90,
    "failed": 2,
    "busy": 3,
    "no_answer": 21,
    "canceled": 1,
}
FIGURES_EXAMPLE: dict[str, Any] = {
    "total": 120,
    "by_status": BY_STATUS_EXAMPLE,
    "by_direction": {"inbound": 80, "outbound": 40, "unknown": 0},
    "answered": 93,
    "answer_rate": 0.775,
    "seizures": 119,
    "asr": 0.7815126050420168,
    "ner": 0.9915966386554622,
    "total_duration": 11160,
    "average_duration": 124.0,
    "acd": 124.0,
    "total_cost": 558.25,
    "average_cost": 4.6521,
    "average_latency_ms": 401.5,
    "short_calls": 4,
    "short_call_share": 0.044444444444444446,
    "hangup_causes": {"NORMAL_CLEARING": 90, "NO_ANSWER": 21, "USER_BUSY": 3, "NONE": 2, "OTHER": 1},
    "percentiles": {
        "duration": {"p50": 96.9, "p90": 290.7, "p95": 361.8, "p99": 687.2},
        "answer_delay_ms": {"p50": 7241.0, "p90": 14243.1, "p95": 17263.9, "p99": 24242.0},
        "latency_ms": {"p50": 388.1, "p90": 554.9, "p95": 622.7, "p99": 861.2},
    },
}
GROUP_EXAMPLE: dict[str, Any] = {"group": "inbound", **FIGURES_EXAMPLE}
SPAN_EXAMPLE: dict[str, Any] = {**FIGURES_EXAMPLE, "start_date": "2026-11-01", "end_date": None}
STATS_EXAMPLE: dict[str, Any] = {
    **FIGURES_EXAMPLE,
    "start_date": "2026-11-01",
    "end_date": None,
    "time_zone": "Europe/Berlin",
}
TRENDS_EXAMPLE: dict[str, Any] = {
    "data": [
        {
            "date": "2026-11-24",
            "total": 120,
            "by_status": BY_STATUS_EXAMPLE,
            "answered": 93,
            "duration": 11160,
            "cost": 558.25,
            "asr": 0.7815126050420168,
            "ner": 0.9915966386554622,
            "acd": 124.0,
            "average_cost": 4.6521,
            "average_latency_ms": 401.5,
            "short_calls": 4,
            "short_call_share": 0.044444444444444446,
        }
    ],
    "interval": "day",
    "start_date": "2026-11-24",
    "end_date": "2026-11-24",
    "time_zone": "Europe/Berlin",
}


class ByStatus(BaseModel):
    """How many calls are in each status."""

    initiated: int = Field(description="Not ringing yet.", ge=0)
    ringing: int = Field(description="Ringing now.", ge=0)
    in_progress: int = Field(description="Answered, and not over.", ge=0)
    completed: int = Field(description="Answered, and over.", ge=0)
    failed: int = Field(description="Ended by a fault.", ge=0)
    busy: int = Field(description="Ended at a busy line.", ge=0)
    no_answer: int = Field(description="Ended without an answer.", ge=0)
    canceled: int = Field(description="Ended by the caller before an answer.", ge=0)


class ByDirection(BaseModel):
    """How many calls have each direction."""

    inbound: int = Field(description="To the organization.", ge=0)
    outbound: int = Field(description="From the organization.", ge=0)
    unknown: int = Field(description="Of no known direction.", ge=0)


class Percentiles(BaseModel):
    """The values that so many percent of the calls do not exceed, by the nearest rank: within 5% of the exact
    ones. Null without calls that have one."""

    p50: Ratio | None = Field(description="The median.")
    p90: Ratio | None = Field(description="90% do not exceed it.")
    p95: Ratio | None = Field(description="95% do not exceed it.")
    p99: Ratio | None = Field(description="99% do not exceed it.")


class PercentilesOfEach(BaseModel):
    """Percentiles of what is measured of a call."""

    duration: Percentiles = Field(
        description="Seconds of answered calls that have a duration; above 86,400 told as that."
    )
    answer_delay_ms: Percentiles = Field(
        description="Milliseconds from `created_at` to `answered_at` of answered calls; below 100 told as "
        "49.5, above 600,000 as that."
    )
    latency_ms: Percentiles = Field(
        description="Milliseconds of calls that have a latency; below 10 told as 4.5, above 60,000 as that."
    )


HangupCauses = Annotated[
    dict[str, Annotated[int, Field(ge=1)]],
    Field(
        description="How many of the ended calls had each hangup cause, the most frequent first, zeros left "
        "out: causes of ITU-T Q.850 and of switches by their names; `NONE`: none was told; `OTHER`: one that "
        "is none of these."
    ),
]
Asr = Annotated[
    Ratio | None,
    Field(
        description="Answer-seizure ratio (ITU-T E.425): `answered` / seizures, which are calls that are "
        "over or answered; null without any."
    ),
]
Ner = Annotated[
    Ratio | None,
    Field(
        description="Network effectiveness ratio (ITU-T E.425): effective calls / seizures; effective are "
        "calls that were answered, were busy, had no answer or were canceled, or failed with a cause that "
        "says that the network did its work; null without seizures."
    ),
]
AverageCost = Annotated[
    Cents | None,
    Field(description="Cents of all calls / calls, rounded to 4 decimals; null without calls."),
]
AverageLatency = Annotated[
    Ratio | None,
    Field(description="The average latency of the calls that have one, in milliseconds; null without any."),
]
ShortCalls = Annotated[int, Field(description="Answered calls with a duration below 6 seconds: exact.", ge=0)]
ShortCallShare = Annotated[
    Ratio | None,
    Field(description="`short_calls` / answered calls that have a duration; null without any."),
]


class CallFigures(BaseModel):
    """The status breakdown of calls, and what telephony reads from it."""

    model_config = ConfigDict(json_schema_extra={"examples": [FIGURES_EXAMPLE]})

    total: int = Field(description="How many calls there are.", ge=0)
    by_status: ByStatus = Field(description="How many in each status; together `total`.")
    by_direction: ByDirection = Field(description="How many of each direction; together `total`.")
    answered: int = Field(description="How many were answered.", ge=0)
    answer_rate: Ratio | None = Field(description="`answered` / `total`; null without calls.")
    seizures: int = Field(description="How many are over or answered.", ge=0)
    asr: Asr
    ner: Ner
    total_duration: int = Field(
        description="Seconds of all calls that have a duration, answered or not.", ge=0
    )
    average_duration: Ratio | None = Field(
        description="The average duration of the answered calls that have one, in seconds; null without any."
    )
    acd: Ratio | None = Field(
        description="Average call duration, in seconds: the same, by its name in telephony."
    )
    total_cost: Cents = Field(description="Cents of all calls, exact to 4 decimals.")
    average_cost: AverageCost
    average_latency_ms: AverageLatency
    short_calls: ShortCalls
    short_call_share: ShortCallShare
    hangup_causes: HangupCauses
    percentiles: PercentilesOfEach = Field(description="Of durations, answer delays and latencies.")


class PeakConcurrency(BaseModel):
    """The most calls that were in progress at once: from their answer until just before their end."""

    calls: int = Field(description="How many.", ge=0)
    at: datetime | None = Field(description="When they first were, in UTC; null without any.")
    calls_since: date = Field(
        description="The day from which on calls were looked at: one that was created earlier and was still "
        "in progress is not counted."
    )


class GroupFigures(CallFigures):
    """The figures of one group."""

    model_config = ConfigDict(json_schema_extra={"examples": [GROUP_EXAMPLE]})

    group: str = Field(
        description="The phone number's id, the direction or the status; `none`: calls without a phone "
        "number; `other`: of all phone numbers beyond the 1,000 with most calls."
    )


class SpanFigures(CallFigures):
    """The figures of calls created in a span of days."""

    model_config = ConfigDict(json_schema_extra={"examples": [SPAN_EXAMPLE]})

    start_date: date | None = Field(description="The first day, as asked; null: from the beginning.")
    end_date: date | None = Field(description="The last day, as asked; null: without end.")
    groups: list[GroupFigures] | SkipJsonSchema[None] = Field(
        None, description="With `group_by`: each group that has calls, the one with most first."
    )
    peak_concurrency: PeakConcurrency | SkipJsonSchema[None] = Field(
        None,
        description="With `include=peak_concurrency`: of the calls that are still kept, also of those that "
        "were created before the span and reach into it.",
    )


class CallStats(SpanFigures):
    """The status breakdown and the figures of the asked calls: the answer to `/calls/stats` and
    `action=stats`."""

    model_config = ConfigDict(json_schema_extra={"examples": [STATS_EXAMPLE]})

    previous: SpanFigures | SkipJsonSchema[None] = Field(
        None, description="With `compare=previous`: the same of as many days just before."
    )
    time_zone: str = Field(description="The organization's time zone, on whose calendar days are.")


class IntervalCount(BaseModel):
    """The counts of an hour, day, week or month."""

    total: int = Field(description="How many calls were created in it.", ge=0)
    by_status: ByStatus = Field(description="How many of them are in each status; together `total`.")
    answered: int = Field(description="How many of them were answered.", ge=0)
    duration: int = Field(description="Seconds of all of them.", ge=0)
    cost: Cents = Field(description="Cents of all of them, exact to 4 decimals.")
    asr: Asr
    acd: Ratio | None = Field(
        description="Average call duration: of the answered calls that have a duration, in seconds; null "
        "without any. By the hour, of completed calls; null on days when one of these has no duration."
    )
    average_cost: AverageCost
    ner: Ner = None
    average_latency_ms: AverageLatency = None
    short_calls: ShortCalls | SkipJsonSchema[None] = None
    short_call_share: ShortCallShare = None
    hangup_causes: HangupCauses | SkipJsonSchema[None] = None
    percentiles: PercentilesOfEach | SkipJsonSchema[None] = Field(
        None, description="With `include=percentiles`: of durations, answer delays and latencies."
    )


class TrendsRow(IntervalCount):
    """The counts of an hour, day, week or month, and where it lies. By the hour, `ner`, `average_latency_ms`,
    `short_calls` and `short_call_share` are not there."""

    date: Annotated[Day, Field(description="The (first) day, on the organization's calendar.")]
    hour_start: datetime | SkipJsonSchema[None] = Field(
        None,
        description="By hours: when it begins, in the organization's time zone. A day when the clock changes "
        "has 23 or 25 of them.",
    )
    start_date: Annotated[
        Day | SkipJsonSchema[None],
        Field(description="By weeks and months: the first day of it that is in the span."),
    ] = None
    end_date: Annotated[
        Day | SkipJsonSchema[None],
        Field(description="By weeks and months: the last day of it that is in the span."),
    ] = None
    group: str | SkipJsonSchema[None] = Field(
        None,
        description="With `group_by`: the phone number's id, the direction or the status; `none`: calls "
        "without a phone number.",
    )
    previous: IntervalCount | None = Field(
        None,
        description="With `compare=previous`: the same of its days in the span just before. By the hour, of "
        "the hour of the earlier day in which the clock shows the same; null where that day has none.",
    )


class CallTrends(BaseModel):
    """The counts of each hour, day, week or month: the answer to `/calls/trends` and `action=trends`."""

    model_config = ConfigDict(json_schema_extra={"examples": [TRENDS_EXAMPLE]})

    data: list[TrendsRow] = Field(
        description="Every interval of the span in order, also those without calls; with `group_by`, those "
        "of each group, the one with most calls first."
    )
    interval: Literal["hour", "day", "week", "month"] = Field(description="What each row is of.")
    start_date: date = Field(description="The first day of the span.")
    end_date: date = Field(description="The last day of the span.")
    time_zone: str = Field(description="The organization's time zone, on whose calendar days are.")

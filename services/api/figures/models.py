"""The answers of stats and trends: every figure with its formula. The OpenAPI document is generated from
these models, and the tests compare real answers with them."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

Cents = Annotated[Decimal, WithJsonSchema({"type": "number"})]
Ratio = Annotated[float, Field(ge=0)]
Day = date
"""A second name for `date`, for models that have a field `date`."""

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
    in_progress: int = Field(description="Answered and not ended.", ge=0)
    completed: int = Field(description="Answered and ended.", ge=0)
    failed: int = Field(description="Ended by a failure.", ge=0)
    busy: int = Field(description="Ended because the line was busy.", ge=0)
    no_answer: int = Field(description="Ended without an answer.", ge=0)
    canceled: int = Field(description="Ended by the caller before the answer.", ge=0)


class ByDirection(BaseModel):
    """How many calls have each direction."""

    inbound: int = Field(description="Calls to the organization.", ge=0)
    outbound: int = Field(description="Calls from the organization.", ge=0)
    unknown: int = Field(description="Calls of unknown direction.", ge=0)


class Percentiles(BaseModel):
    """Percentiles by nearest rank, within 5% of the exact values. Null if no call has a value."""

    p50: Ratio | None = Field(description="The median.")
    p90: Ratio | None = Field(description="90% of the calls do not exceed it.")
    p95: Ratio | None = Field(description="95% of the calls do not exceed it.")
    p99: Ratio | None = Field(description="99% of the calls do not exceed it.")


class PercentilesOfEach(BaseModel):
    """Percentiles of each measured value of a call."""

    duration: Percentiles = Field(
        description="Durations of answered calls, in seconds. Values above 86,400 are reported as 86,400."
    )
    answer_delay_ms: Percentiles = Field(
        description="Milliseconds from `created_at` to `answered_at` of answered calls. Values below 100 are "
        "reported as 49.5, values above 600,000 as 600,000."
    )
    latency_ms: Percentiles = Field(
        description="Latencies of calls that have one, in milliseconds. Values below 10 are reported as 4.5, "
        "values above 60,000 as 60,000."
    )


HangupCauses = Annotated[
    dict[str, Annotated[int, Field(ge=1)]],
    Field(
        description="Ended calls by hangup cause, the most frequent first; causes without calls are omitted. "
        "Causes are the names of ITU-T Q.850 and of switches. `NONE`: the source reported no cause. `OTHER`: "
        "a cause that is not one of these names."
    ),
]
Asr = Annotated[
    Ratio | None,
    Field(
        description="Answer-seizure ratio (ITU-T E.425): `answered` / seizures. Seizures are calls that have "
        "ended or are answered. Null without seizures."
    ),
]
Ner = Annotated[
    Ratio | None,
    Field(
        description="Network effectiveness ratio (ITU-T E.425): effective calls / seizures. Effective calls "
        "were answered, busy, not answered or canceled, or failed with a cause that shows a working "
        "network. Null without seizures."
    ),
]
AverageCost = Annotated[
    Cents | None,
    Field(
        description="Cost of all calls / number of calls, in cents, rounded to 4 decimals. Null without "
        "calls."
    ),
]
AverageLatency = Annotated[
    Ratio | None,
    Field(
        description="Average latency of the calls that have one, in milliseconds. Null without such calls."
    ),
]
ShortCalls = Annotated[int, Field(description="Answered calls with a duration below 6 seconds. Exact.", ge=0)]
ShortCallShare = Annotated[
    Ratio | None,
    Field(description="`short_calls` / answered calls that have a duration. Null without such calls."),
]


class CallFigures(BaseModel):
    """The status breakdown of calls and telephony's figures."""

    model_config = ConfigDict(json_schema_extra={"examples": [FIGURES_EXAMPLE]})

    total: int = Field(description="Number of calls.", ge=0)
    by_status: ByStatus = Field(description="Calls in each status. Their sum is `total`.")
    by_direction: ByDirection = Field(description="Calls of each direction. Their sum is `total`.")
    answered: int = Field(description="Answered calls.", ge=0)
    answer_rate: Ratio | None = Field(description="`answered` / `total`. Null without calls.")
    seizures: int = Field(description="Calls that have ended or are answered.", ge=0)
    asr: Asr
    ner: Ner
    total_duration: int = Field(
        description="Sum of all durations in seconds, of calls answered or not.", ge=0
    )
    average_duration: Ratio | None = Field(
        description="Average duration of the answered calls that have one, in seconds. Null without such "
        "calls."
    )
    acd: Ratio | None = Field(
        description="Average call duration in seconds: `average_duration` by its name in telephony."
    )
    total_cost: Cents = Field(description="Cost of all calls in cents, exact to 4 decimals.")
    average_cost: AverageCost
    average_latency_ms: AverageLatency
    short_calls: ShortCalls
    short_call_share: ShortCallShare
    hangup_causes: HangupCauses
    percentiles: PercentilesOfEach = Field(
        description="Percentiles of durations, answer delays and latencies."
    )


class PeakConcurrency(BaseModel):
    """The most calls that were in progress at once. A call is in progress from its answer until just before
    its end."""

    calls: int = Field(description="Number of calls.", ge=0)
    at: datetime | None = Field(description="The first time of this peak, in UTC. Null without calls.")
    calls_since: date = Field(
        description="The first day whose calls were examined. Calls created earlier are not counted, even if "
        "they were still in progress."
    )


class GroupFigures(CallFigures):
    """The figures of one group."""

    model_config = ConfigDict(json_schema_extra={"examples": [GROUP_EXAMPLE]})

    group: str = Field(
        description="The phone number's id, the direction or the status. `none`: calls without a phone "
        "number. `other`: all phone numbers beyond the 1,000 with the most calls."
    )


class SpanFigures(CallFigures):
    """The figures of calls created in a span of days."""

    model_config = ConfigDict(json_schema_extra={"examples": [SPAN_EXAMPLE]})

    start_date: date | None = Field(description="The requested first day. Null: no lower bound.")
    end_date: date | None = Field(description="The requested last day. Null: no upper bound.")
    groups: list[GroupFigures] | SkipJsonSchema[None] = Field(
        None, description="With `group_by`: each group that has calls, the largest first."
    )
    peak_concurrency: PeakConcurrency | SkipJsonSchema[None] = Field(
        None,
        description="With `include=peak_concurrency`: the peak among the calls that are still stored. Calls "
        "that were created before the span and reach into it are included.",
    )


class CallStats(SpanFigures):
    """The status breakdown and the figures of the requested calls: the answer to `/calls/stats` and
    `action=stats`."""

    model_config = ConfigDict(json_schema_extra={"examples": [STATS_EXAMPLE]})

    previous: SpanFigures | SkipJsonSchema[None] = Field(
        None, description="With `compare=previous`: the same figures for the same number of days just before."
    )
    time_zone: str = Field(description="The organization's time zone, which defines its days.")


class IntervalCount(BaseModel):
    """The counts of an hour, day, week or month."""

    total: int = Field(description="Calls created in the interval.", ge=0)
    by_status: ByStatus = Field(description="These calls by status. Their sum is `total`.")
    answered: int = Field(description="How many of these calls were answered.", ge=0)
    duration: int = Field(description="Sum of their durations in seconds.", ge=0)
    cost: Cents = Field(description="Sum of their costs in cents, exact to 4 decimals.")
    asr: Asr
    acd: Ratio | None = Field(
        description="Average duration of the answered calls that have one, in seconds. Null without such "
        "calls. By the hour, it covers completed calls, and is null on days when one of them has no duration."
    )
    average_cost: AverageCost
    ner: Ner = None
    average_latency_ms: AverageLatency = None
    short_calls: ShortCalls | SkipJsonSchema[None] = None
    short_call_share: ShortCallShare = None
    hangup_causes: HangupCauses | SkipJsonSchema[None] = None
    percentiles: PercentilesOfEach | SkipJsonSchema[None] = Field(
        None, description="With `include=percentiles`: percentiles of durations, answer delays and latencies."
    )


class TrendsRow(IntervalCount):
    """The counts of one hour, day, week or month, with its dates. Rows by the hour do not have `ner`,
    `average_latency_ms`, `short_calls` and `short_call_share`."""

    date: Annotated[Day, Field(description="The day, or the first day, in the organization's time zone.")]
    hour_start: datetime | SkipJsonSchema[None] = Field(
        None,
        description="With `interval=hour`: the start of the hour, in the organization's time zone. A day "
        "when the clock changes has 23 or 25 hours.",
    )
    start_date: Annotated[
        Day | SkipJsonSchema[None],
        Field(description="With weeks and months: its first day within the span."),
    ] = None
    end_date: Annotated[
        Day | SkipJsonSchema[None],
        Field(description="With weeks and months: its last day within the span."),
    ] = None
    group: str | SkipJsonSchema[None] = Field(
        None,
        description="With `group_by`: the phone number's id, the direction or the status. `none`: calls "
        "without a phone number.",
    )
    previous: IntervalCount | None = Field(
        None,
        description="With `compare=previous`: the same counts for the corresponding days of the span just "
        "before. By the hour, the hour with the same local time on the earlier day; null if that day has no "
        "such hour.",
    )


class CallTrends(BaseModel):
    """The counts of each hour, day, week or month: the answer to `/calls/trends` and `action=trends`."""

    model_config = ConfigDict(json_schema_extra={"examples": [TRENDS_EXAMPLE]})

    data: list[TrendsRow] = Field(
        description="Every interval of the span in order, including those without calls. With `group_by`, "
        "the intervals of each group, the largest group first."
    )
    interval: Literal["hour", "day", "week", "month"] = Field(
        description="The length of the interval of each row."
    )
    start_date: date = Field(description="The first day of the span.")
    end_date: date = Field(description="The last day of the span.")
    time_zone: str = Field(description="The organization's time zone, which defines its days.")

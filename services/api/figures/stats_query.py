"""The query parameters of stats and trends."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from services.api.figures.cell_filters import CellsQuery, Day
from services.api.figures.intervals import SPANS, Interval, WeekStart
from services.api.figures.sums import DISTRIBUTIONS, GROUPS_MAX, Distribution, GroupBy
from services.api.http.query import query_parameters

PEAK_DAYS_MAX: Final = 31
ROWS_MAX: Final = 20_000
ROWS_WITH_DISTRIBUTIONS_MAX: Final = 2_000


def _distributions(text: object) -> list[str]:
    names = text.split(",") if isinstance(text, str) else []
    if not names or any(name not in DISTRIBUTIONS for name in names):
        raise ValueError(f"must be {', '.join(DISTRIBUTIONS)}, or both separated by a comma")
    return names


_NAMES: Final = "|".join(DISTRIBUTIONS)
Distributions = Annotated[
    list[Distribution],
    BeforeValidator(_distributions),
    WithJsonSchema({"type": "string", "pattern": f"^({_NAMES})(,({_NAMES}))*$"}),
]


class StatsQuery(CellsQuery):
    """The query parameters of stats."""

    group_by: GroupBy | SkipJsonSchema[None] = Field(
        None,
        description="Adds the figures of each phone number, direction or status, the group with the most "
        f"calls first. At most {GROUPS_MAX:,} phone numbers are listed; all others form one group.",
    )
    compare: Literal["previous"] | SkipJsonSchema[None] = Field(
        None,
        description="`previous` adds the same figures for the same number of days just before. It requires "
        "`start_date` and `end_date`.",
    )
    include: Literal["peak_concurrency"] | SkipJsonSchema[None] = Field(
        None,
        description="`peak_concurrency` adds the most calls that were in progress at once. It requires "
        f"`start_date` and `end_date`, at most {PEAK_DAYS_MAX} days.",
    )


class TrendsQuery(CellsQuery):
    """The query parameters of trends."""

    start_date: Day | SkipJsonSchema[None] = Field(
        None,
        description="The first day, in the organization's time zone. The default depends on `interval`.",
        examples=["2026-11-01"],
    )
    end_date: Day | SkipJsonSchema[None] = Field(
        None,
        description="The last day, in the organization's time zone. The default is today.",
        examples=["2026-11-30"],
    )
    interval: Interval = Field(
        "day",
        description="The length of each row's interval, in the organization's time zone. "
        + " ".join(
            f"`{interval}`: at most {most:,} days, {unless_asked:,} without `start_date`."
            for interval, (unless_asked, most) in SPANS.items()
        ),
    )
    week_start: WeekStart | SkipJsonSchema[None] = Field(
        None,
        description="The first day of weeks, only with `interval=week`. Default: `monday`, as in ISO 8601.",
    )
    group_by: GroupBy | SkipJsonSchema[None] = Field(
        None,
        description="Separate rows for each phone number, direction or status, the group with the most calls "
        f"first. At most {ROWS_MAX:,} rows, or {ROWS_WITH_DISTRIBUTIONS_MAX:,} with `include`.",
    )
    compare: Literal["previous"] | SkipJsonSchema[None] = Field(
        None,
        description="`previous` adds to each row the counts of the corresponding days of the span just "
        "before. By the hour, the hour with the same local time on the earlier day.",
    )
    include: Distributions = Field(
        default_factory=list,
        description="Adds `percentiles`, `hangup_causes`, or both separated by a comma, to each row. Not "
        "available with `interval=hour`.",
        examples=["percentiles,hangup_causes"],
    )


class StatsByAction(StatsQuery):
    """The query parameters of `GET /calls` with `action=stats`."""

    action: Literal["stats"]


class TrendsByAction(TrendsQuery):
    """The query parameters of `GET /calls` with `action=trends`."""

    action: Literal["trends"]


def parameters_by_action() -> list[dict[str, object]]:
    """The OpenAPI parameters of `GET /calls` that only its actions have."""
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for action, model in (("stats", StatsQuery), ("trends", TrendsQuery)):
        for parameter in query_parameters(model):
            if parameter["name"] not in CellsQuery.model_fields:
                by_name.setdefault(str(parameter["name"]), {})[action] = parameter
    return [
        {
            **next(iter(by_action.values())),
            "description": " ".join(
                f"With `action={action}`: {_lower_case(str(parameter['description']))}"
                for action, parameter in by_action.items()
            ),
            "schema": _either([parameter["schema"] for parameter in by_action.values()]),
        }
        for by_action in by_name.values()
    ]


def _lower_case(description: str) -> str:
    return description[:1].lower() + description[1:]


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    different = [schema for place, schema in enumerate(schemas) if schema not in schemas[:place]]
    return {"anyOf": different} if len(different) > 1 else different[0]

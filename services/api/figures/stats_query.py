"""The query parameters of stats and trends."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from services.api.figures.cell_filters import CellsQuery
from services.api.figures.intervals import SPANS, Interval, WeekStart
from services.api.figures.sums import DISTRIBUTIONS, GROUPS_MAX, Distribution, GroupBy
from services.api.http.query import query_parameters

PEAK_DAYS_MAX: Final = 31
ROWS_MAX: Final = 20_000
ROWS_WITH_DISTRIBUTIONS_MAX: Final = 2_000


def _distributions(text: object) -> list[str]:
    names = text.split(",") if isinstance(text, str) else []
    if not names or any(name not in DISTRIBUTIONS for name in names):
        raise ValueError(f"must be {' or '.join(DISTRIBUTIONS)}, or both separated by a comma")
    return names


_NAMES: Final = "|".join(DISTRIBUTIONS)
Distributions = Annotated[
    list[Distribution],
    BeforeValidator(_distributions),
    WithJsonSchema({"type": "string", "pattern": f"^({_NAMES})(,({_NAMES}))*$"}),
]


class StatsQuery(CellsQuery):
    """What stats can be asked."""

    group_by: GroupBy | SkipJsonSchema[None] = Field(
        None,
        description="Also the figures of each phone number, direction or status, the one with most calls "
        f"first: of {GROUPS_MAX} phone numbers at most, and of all others together.",
    )
    compare: Literal["previous"] | SkipJsonSchema[None] = Field(
        None,
        description="`previous`: also the same of as many days just before. It needs a first and a last day.",
    )
    include: Literal["peak_concurrency"] | SkipJsonSchema[None] = Field(
        None,
        description="`peak_concurrency`: also the most calls that were in progress at once. It needs a first "
        f"and a last day, and at most {PEAK_DAYS_MAX} days.",
    )


class TrendsQuery(CellsQuery):
    """What trends can be asked."""

    interval: Interval = Field(
        "day",
        description="What each row is of: an hour, a day, a week or a month of the "
        "organization's own calendar. "
        + " ".join(
            f"By {interval}, at most {most} days, and {unless_asked} without `start_date`."
            for interval, (unless_asked, most) in SPANS.items()
        ),
    )
    week_start: WeekStart | SkipJsonSchema[None] = Field(
        None,
        description="With `interval=week`: the day that weeks begin on. Without it `monday`, as in ISO 8601.",
    )
    group_by: GroupBy | SkipJsonSchema[None] = Field(
        None,
        description="Rows of each phone number, direction or status by itself, the one with most calls "
        f"first: at most {ROWS_MAX} rows, and {ROWS_WITH_DISTRIBUTIONS_MAX} where `include` asks for more of "
        "each.",
    )
    compare: Literal["previous"] | SkipJsonSchema[None] = Field(
        None,
        description="`previous`: in each row also the same of its days in the span just before. By the hour, "
        "of the hour of the earlier day in which the clock shows the same.",
    )
    include: Distributions = Field(
        default_factory=list,
        description="`percentiles`, `hangup_causes`, or both separated by a comma: in each row also these. "
        "They are not known by the hour.",
        examples=["percentiles,hangup_causes"],
    )


class StatsByAction(StatsQuery):
    """What `GET /calls` can be asked with `action=stats`."""

    action: Literal["stats"]


class TrendsByAction(TrendsQuery):
    """What `GET /calls` can be asked with `action=trends`."""

    action: Literal["trends"]


def parameters_by_action() -> list[dict[str, object]]:
    """What the OpenAPI document says of those parameters of `GET /calls` that only its actions have."""
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for action, model in (("stats", StatsQuery), ("trends", TrendsQuery)):
        for parameter in query_parameters(model):
            if parameter["name"] not in CellsQuery.model_fields:
                by_name.setdefault(str(parameter["name"]), {})[action] = parameter
    return [
        {
            **next(iter(by_action.values())),
            "description": " ".join(
                f"With `action={action}`: {parameter['description']}"
                for action, parameter in by_action.items()
            ),
            "schema": _either([parameter["schema"] for parameter in by_action.values()]),
        }
        for by_action in by_name.values()
    ]


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    different = [schema for place, schema in enumerate(schemas) if schema not in schemas[:place]]
    return {"anyOf": different} if len(different) > 1 else different[0]

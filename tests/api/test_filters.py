"""The table of filters: statements, bounds and documentation all follow its rows."""

from datetime import UTC as FIXED_UTC
from datetime import date, datetime
from typing import Any
from uuid import UUID

import pytest

from services.api.access.credentials import Principal
from services.api.calls import export, pages
from services.api.calls.list_query import CONDITIONS, CallFilters, FiltersQuery, call_filters_of
from services.api.database.counts_state import CountsState
from services.api.figures.cell_filters import AccessPath, Filters
from shared.calls.event import call_uuid
from shared.calls.hangup import SPELLINGS
from shared.calls.zones import UTC

ACME = UUID(int=1)
PHONE = UUID(int=3)
NO_ANSWER = ["NO_ANSWER", "no_answer", "19"]
PRINCIPAL = Principal(ACME, True, UTC, "API key", frozenset(), "unlimited", CountsState(None, 0, 0))


def asked(**query: str) -> CallFilters:
    return call_filters_of(PRINCIPAL, FiltersQuery.model_validate(query))


# A query -> the parameters of its statements, and the access paths by which PostgreSQL finds its calls.
ROWS: list[tuple[dict[str, str], dict[str, object], list[AccessPath]]] = [
    ({}, {}, []),
    ({"status": "completed,busy"}, {"status": ["busy", "completed"]}, [AccessPath.SCAN]),
    ({"direction": "unknown"}, {"direction": "unknown"}, [AccessPath.SCAN]),
    ({"phone_number_id": str(PHONE)}, {"phone_number_id": PHONE}, [AccessPath.MANY_BY_TIME]),
    (
        {"from_date": "2026-11-01", "end_date": "2026-11-02"},
        {"start_date": date(2026, 11, 1), "end_date": date(2026, 11, 2)},
        [AccessPath.SPAN, AccessPath.SPAN],
    ),
    (
        {"start_date": "2026-11-01T08:00:00Z"},
        {"created_from": datetime(2026, 11, 1, 8, tzinfo=FIXED_UTC)},
        [AccessPath.SPAN],
    ),
    ({"endpoint_id": str(PHONE)}, {"endpoint_id": PHONE}, [AccessPath.MANY_BY_TIME]),
    ({"from_number": "+4930"}, {"from_number": "+4930"}, [AccessPath.FEW_BY_TIME]),
    ({"to_number": "+493*"}, {"to_first": "+493", "to_after": "+494"}, [AccessPath.MANY]),
    ({"number": "(030) 18"}, {"number_part": "03018"}, [AccessPath.SCAN]),
    ({"external_id": "a@b"}, {"id": call_uuid(ACME, "a@b")}, [AccessPath.KEY]),
    ({"max_duration": "0"}, {"max_duration": 0}, [AccessPath.SCAN]),
    ({"has_recording": "false"}, {"has_recording": False}, [AccessPath.SCAN]),
    (
        {"answered": "true", "seizure": "true", "effective": "false", "has_phone_number": "false"},
        {"answered": True, "seizure": True, "effective": False, "has_phone_number": False},
        [AccessPath.SCAN] * 4,
    ),
    ({"counted_cause": "NO_ANSWER"}, {"cause_spellings": NO_ANSWER}, [AccessPath.SCAN]),
    (
        {"counted_cause": "OTHER"},
        {"other_cause_spellings": [each for each in SPELLINGS if each not in ("OTHER", "other")]},
        [AccessPath.SCAN],
    ),
]


@pytest.mark.parametrize(("query", "parameters", "paths"), ROWS)
def test_a_query_becomes_parameters(
    query: dict[str, str], parameters: dict[str, object], paths: list[AccessPath]
) -> None:
    filters = asked(**query)

    given = {name: value for name, value in filters.parameters.items() if value is not None}
    assert given == {"organization_id": ACME, "livemode": True, **parameters}
    assert [condition.path for condition in filters.conditions] == paths


def test_the_narrowest_index_is_tried_first() -> None:
    filters = asked(
        start_date="2026-11-01",
        status="busy",
        phone_number_id=str(PHONE),
        endpoint_id=str(PHONE),
        from_number="+4930*",
        to_number="+4940",
        external_id="a@b",
        min_duration="1",
    )

    in_time = Filters(ACME, True, start_date=date(2026, 11, 1))
    assert list(filters.by_each_index()) == [
        CallFilters(in_time, {"id": call_uuid(ACME, "a@b")}),
        CallFilters(in_time, {"to_number": "+4940"}),
        CallFilters(in_time, {"endpoint_id": PHONE}),
        CallFilters(in_time, {"from_first": "+4930", "from_after": "+4931"}),
    ]


def test_the_counts_know_how_many_calls_one_measured_filter_leaves() -> None:
    assert asked(answered="true", status="failed").measured == ("answered", True)
    assert asked(seizure="false", start_date="2026-11-01").measured == ("seizure", False)
    for query in (
        {"answered": "true", "effective": "false"},
        {"answered": "true", "max_duration": "5"},
        {"answered": "true", "start_date": "2026-11-01T08:00:00Z"},
        {"counted_cause": "NONE"},
    ):
        assert not asked(**query).is_counted


def test_every_statement_of_lists_has_the_parameters_of_the_table() -> None:
    of_filters = set(asked().parameters)
    of_pages = {"after_time", "after_id", "limit", "offset"}
    assert of_filters >= {name for condition in CONDITIONS for name in condition.parameters}
    statements: list[tuple[Any, set[str]]] = [
        (pages.COUNT, {"calls_max"}),
        *((each, set()) for each in export.EXPORT.values()),
        *((each, of_pages | {"after_value"}) for each in pages.SEARCH.values()),
        *((each, of_pages | {"calls_looked_at"}) for each in pages.PAGE.values()),
        *((each, of_pages | {"calls_looked_at"}) for each in pages.PAGE_WITH_TOTAL.values()),
    ]
    for statement, others in statements:
        assert set(statement.parameters) == of_filters | others

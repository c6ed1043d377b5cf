"""Hooks that Schemathesis loads: rules between parameters of the API, which a schema cannot express."""

import json
import os
import re
from typing import Any
from uuid import uuid4

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

from services.api.figures.cell_filters import CellsQuery
from services.api.figures.stats_query import StatsQuery, TrendsQuery

BETWEEN_PARAMETERS = re.compile(
    "is an alias of"
    "|must not be after end_date"
    "|must be less than [0-9]+ days before"
    "|leaves no room for|is too early for compare=previous"
    "|must not be the nil UUID"
    "|must be a next_cursor from a list with the same filters and order"
    "|only lists and exports take timestamps"
    "|only with start_date and end_date|only for at most [0-9]+ days"
    "|cannot be combined with interval=hour|can be hour only for days"
    "|applies only to interval=week|applies only to format=csv"
    "|must be an IANA time zone name"  # of which there are hundreds
    "|must be a timestamp that exists"  # a leap second does not
)

OF_EVERY_ACTION = {"action", *CellsQuery.model_fields}
OF_ACTIONS_ALONE = {*StatsQuery.model_fields, *TrendsQuery.model_fields} - OF_EVERY_ACTION
INSTEAD_OF_EACH_OTHER = (
    ("cursor", "offset", "page"),
    ("start_date", "from_date"),
    ("end_date", "to_date"),
    ("number", "from_number", "to_number"),
)


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Keeps one of several exclusive parameters, so that not every request is refused. A schema cannot
    express which organization the key belongs to, and which webhook has a delivery."""
    if case.method in ("DELETE", "PATCH") and case.path_parameters.get("id") == os.environ["WEBHOOK_ID"]:
        case.path_parameters["id"] = str(uuid4())  # the webhook with deliveries stays as it is
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if "action" in case.query:
        case.query = {name: value for name, value in case.query.items() if name in OF_EVERY_ACTION}
    elif case.path == "/calls":
        case.query = {name: value for name, value in case.query.items() if name not in OF_ACTIONS_ALONE}
    for names in INSTEAD_OF_EACH_OTHER:
        for name in [name for name in names if name in case.query][1:]:
            del case.query[name]
    if "delivery_id" in case.path_parameters:
        case.path_parameters["id"] = os.environ["WEBHOOK_ID"]
    if "x-organization-id" in case.headers:
        case.headers["x-organization-id"] = os.environ["ORGANIZATION_ID"]


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """False if each parameter is valid and the request was refused by a rule between them, or by the state of
    what it names."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    if response.status_code == 409:  # the state of the webhooks
        return False
    if response.status_code != 400:
        return True
    rule: str = json.loads(response.content)["details"]["rule"]
    return BETWEEN_PARAMETERS.search(rule) is None

"""OpenAPI descriptions of the admin routes, beyond their signatures."""

from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from services.api.http.common_responses import error, header, unavailable
from services.api.http.error_codes import ErrorCode
from services.api.http.query import query_parameters
from services.ops.admin import models, queries

TITLE: Final = "callfold admin API"
DESCRIPTION: Final = """
The routes for operators, on the monitor port of the API. They show and repair the pipeline of all
organizations.

**Credentials.** Every route needs `CALLFOLD_ADMIN_TOKEN`, as `Authorization: Bearer …`. This document needs
none.

**Errors** have the shape and the codes of the public API: `error` (a sentence), `code` and `details`. An
unknown or repeated parameter is refused.

**Values.** Timestamps are RFC 3339 in UTC.
"""

_BAD_PARAMETER: Final = error(
    "A parameter breaks a rule; `details` names both.",
    ErrorCode.INVALID_PARAMETER,
    "limit must be at most 100.",
    details={"field": "limit", "rule": "must be at most 100"},
)
_UNAUTHORIZED: Final = error(
    "The token is missing or wrong.",
    ErrorCode.UNAUTHORIZED,
    "Send the admin token as Authorization: Bearer.",
    headers={"WWW-Authenticate": header("The authentication scheme to use.")},
)
_ANYTHING_ELSE: Final = error(
    "Any other error, in the same shape.",
    ErrorCode.INTERNAL,
    "The API failed with an internal error; report it to the operator.",
)
_DATABASE: Final = unavailable(
    "`DATABASE_UNAVAILABLE`: the database is unreachable or busy, or its tables are too old. The sentence "
    "says why."
)
_DATABASE_OR_KAFKA: Final = unavailable(
    "`DATABASE_UNAVAILABLE`: the database is unreachable or busy. `KAFKA_UNAVAILABLE`: Kafka is unreachable, "
    "or refuses the request. The sentence says why."
)
_NO_SUCH_RECORD: Final = error(
    "The quarantine has no such record.",
    ErrorCode.NOT_FOUND,
    "There is no record with this id in the quarantine.",
)
_NO_SUCH_PROOF: Final = error(
    "There is no such proof.", ErrorCode.NOT_FOUND, "There is no proof with this id."
)
_NO_SUCH_SOURCE: Final = error(
    "There is no such source.", ErrorCode.NOT_FOUND, "There is no source with this id."
)
_PROOF_RUNS: Final = error(
    "A proof is running.", ErrorCode.PROOF_RUNS, "A proof is running; wait for its end."
)
_OVERTAKEN: Final = error(
    "Other processes changed the same calls first, many times in a row.",
    ErrorCode.COMMAND_FAILED,
    "Other processes changed the same calls first, 20 times in a row. Run the command again at a quieter "
    "time.",
)

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: _BAD_PARAMETER,
    401: _UNAUTHORIZED,
    503: _DATABASE,
    "default": _ANYTHING_ELSE,
}


def _route(
    operation_id: str,
    summary: str,
    answer: type[BaseModel],
    described: str,
    *,
    query: type[BaseModel] | None = None,
    responses: dict[int | str, dict[str, Any]] | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "summary": summary,
        "response_model": answer,
        "response_description": described,
        "status_code": status,
        "responses": {**_ERRORS, **(responses or {})},
        "openapi_extra": {} if query is None else {"parameters": query_parameters(query)},
    }


GET_LAG: Final = _route(
    "get_lag", "Measure the lag", models.Lag, "The lag.", responses={503: _DATABASE_OR_KAFKA}
)
LIST_QUARANTINED_RECORDS: Final = _route(
    "list_quarantined_records",
    "List quarantined records",
    models.QuarantinedRecords,
    "The records.",
    query=queries.QuarantineQuery,
)
LIST_QUARANTINE_REASONS: Final = _route(
    "list_quarantine_reasons",
    "Count quarantined records by reason",
    models.QuarantineReasons,
    "The reasons.",
    query=queries.ReasonsQuery,
)
GET_QUARANTINED_RECORD: Final = _route(
    "get_quarantined_record",
    "Show one quarantined record",
    models.QuarantinedContent,
    "The record.",
    responses={404: _NO_SUCH_RECORD},
)
REDRIVE_QUARANTINED_RECORDS: Final = _route(
    "redrive_quarantined_records",
    "Retry quarantined records",
    models.Redriven,
    "What became of the records.",
    responses={409: _OVERTAKEN},
)
DISCARD_QUARANTINED_RECORDS: Final = _route(
    "discard_quarantined_records",
    "Remove quarantined records permanently",
    models.Discarded,
    "The number of removed records.",
    responses={409: _OVERTAKEN},
)
LIST_LAST_DELIVERIES: Final = _route(
    "list_last_deliveries",
    "List the last deliveries of a source",
    models.LastDeliveries,
    "The deliveries.",
    responses={404: _NO_SUCH_SOURCE, 503: _DATABASE_OR_KAFKA},
)
LIST_SOURCES: Final = _route("list_sources", "List sources", models.Sources, "The sources.")
LIST_WEBHOOKS: Final = _route(
    "list_webhooks",
    "List webhooks of all organizations",
    models.AdminWebhooks,
    "The webhooks.",
    query=queries.WebhooksQuery,
)
LIST_PROOFS: Final = _route(
    "list_proofs", "List recorded proofs", models.Proofs, "The proofs.", query=queries.ProofsQuery
)
GET_PROOF: Final = _route(
    "get_proof", "Show one recorded proof", models.Proof, "The proof.", responses={404: _NO_SUCH_PROOF}
)
START_PROOF: Final = _route(
    "start_proof",
    "Start a proof",
    models.Proof,
    "The proof, which has started.",
    responses={409: _PROOF_RUNS},
    status=HTTPStatus.ACCEPTED,
)

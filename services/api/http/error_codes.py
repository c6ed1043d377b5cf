"""The error codes: for each one its HTTP status, its cause, and what the client should do.

This table is the only place that has all three. Answers carry the name of a member as `code`.
"""

from enum import Enum
from http import HTTPStatus


class ErrorCode(Enum):
    """Every code that an error answer can have. The name of the member is the code."""

    INVALID_PARAMETER = (
        HTTPStatus.BAD_REQUEST,
        "A parameter of the query, path, headers or body is unknown, repeated, malformed or out of range.",
        "Correct the parameter in `details.field`; `details.rule` states the rule that it breaks.",
    )
    TOO_MANY_CALLS = (
        HTTPStatus.BAD_REQUEST,
        "The request would have to examine more calls than one request may.",
        "Narrow `start_date` and `end_date`; `details.calls_max` is the limit.",
    )
    BAD_REQUEST = (
        HTTPStatus.BAD_REQUEST,
        "The bytes on the connection are not a valid HTTP request.",
        "Check the HTTP client or the proxy between it and the API.",
    )
    CORS_REFUSED = (
        HTTPStatus.BAD_REQUEST,
        "A browser's preflight asks for an origin, method or header that is not allowed.",
        "Ask the operator to add the page's origin to `CALLFOLD_API_CORS_ORIGINS`; send only listed headers.",
    )
    UNAUTHORIZED = (
        HTTPStatus.UNAUTHORIZED,
        "The request has no credentials, or the API key or token is unknown, expired, revoked or invalid.",
        "Send a valid API key or token; retrying with the same one does not help.",
    )
    FORBIDDEN = (
        HTTPStatus.FORBIDDEN,
        "The credentials are valid, but their scope, organization or network does not permit this request.",
        "Use credentials that have the required scope, belong to the organization and allow the network.",
    )
    NOT_FOUND = (
        HTTPStatus.NOT_FOUND,
        "The route, the call or its recording does not exist, or the credentials cannot see it.",
        "Check the path and the id; a deleted call does not come back.",
    )
    METHOD_NOT_ALLOWED = (
        HTTPStatus.METHOD_NOT_ALLOWED,
        "The route exists, but not for this HTTP method.",
        "Use a method that the `Allow` header lists.",
    )
    BODY_TOO_LARGE = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The request's body exceeds 64 KiB.",
        "Send a smaller body, or none where the route takes none.",
    )
    TOO_MANY_WEBHOOKS = (
        HTTPStatus.CONFLICT,
        "The organization has as many webhooks in this mode as it may.",
        "Delete a webhook that is not needed.",
    )
    WEBHOOK_DISABLED = (
        HTTPStatus.CONFLICT,
        "The webhook is disabled.",
        "Enable it with `PATCH /webhooks/{id}`.",
    )
    PROOF_RUNS = (
        HTTPStatus.CONFLICT,
        "Admin API: a recorded proof is running, and only one may run at a time.",
        "Wait until it has finished; `GET /admin/proofs` shows its progress.",
    )
    COMMAND_FAILED = (
        HTTPStatus.CONFLICT,
        "Admin API: the action failed for a reason that its sentence states, such as a conflict.",
        "Do what the sentence says, then repeat the request.",
    )
    RATE_LIMIT_EXCEEDED = (
        HTTPStatus.TOO_MANY_REQUESTS,
        "The API key or user has sent more requests than the organization's plan allows.",
        "Wait for the seconds in `Retry-After`, then retry.",
    )
    TOO_MANY_STREAMS = (
        HTTPStatus.TOO_MANY_REQUESTS,
        "The API key or user already has as many open streams as one API process allows.",
        "Close a stream, then retry after the seconds in `Retry-After`.",
    )
    HEAD_TOO_LARGE = (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request line and headers have more than 32 KiB.",
        "Send fewer or shorter headers, or a shorter query.",
    )
    INTERNAL = (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The API failed in a way that it does not handle; its log has the traceback.",
        "Report the request and its time to the operator.",
    )
    DATABASE_UNAVAILABLE = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The API cannot use the database now: it is unreachable or busy, or the API process is stopping.",
        "Retry after the seconds in `Retry-After`.",
    )
    DATABASE_OUTDATED = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database's tables do not exist or are older than this version of the API.",
        "Ask the operator to run `callfold migrate`, then retry.",
    )
    TIMED_OUT = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database query took longer than one request may.",
        "Request fewer days or add a filter; or retry after the seconds in `Retry-After`.",
    )
    ORGANIZATION_BUSY = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Other requests of the organization hold all database connections that one organization may use.",
        "Send fewer requests at once, and retry after the seconds in `Retry-After`.",
    )
    EXPORTS_BUSY = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The API process, or this organization in it, already runs as many exports as it may.",
        "Wait until another export finishes; retry after the seconds in `Retry-After`.",
    )
    STREAMS_BUSY = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The API process already has as many open streams as it may.",
        "Retry after the seconds in `Retry-After`.",
    )
    CHANGES_UNAVAILABLE = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The API cannot read the topic of calls: Kafka is unreachable or refuses it, or no topic exists.",
        "Retry after the seconds in `Retry-After`, or poll `GET /calls`; the API's log has the reason.",
    )
    KAFKA_UNAVAILABLE = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Admin API: Kafka is unreachable, refuses the request, or lacks a topic; the sentence says which.",
        "Retry after the seconds in `Retry-After`, or do what the sentence says.",
    )
    REPLICA_BEHIND = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The call is deleted, but the replica that serves lists and counts does not show it yet.",
        "Repeat the DELETE after the seconds in `Retry-After`, until it returns 204 or 404.",
    )
    SIGNING_KEYS_UNAVAILABLE = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The API cannot read the keys that verify users' tokens.",
        "Retry after the seconds in `Retry-After`, or use an API key.",
    )
    SECRETS_UNAVAILABLE = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The API has no key that encrypts the secrets of webhooks.",
        "Ask the operator to set `CALLFOLD_SECRETS_KEY`.",
    )
    TOO_MANY_CONNECTIONS = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The API process already has as many client connections as it may.",
        "Reuse connections, and retry after the seconds in `Retry-After`.",
    )

    def __init__(self, status: HTTPStatus, cause: str, remedy: str) -> None:
        self.status = status
        self.cause = cause
        """Why the API answers with this code, in one sentence."""
        self.remedy = remedy
        """The client's next step, in one sentence."""

"""A call as clients see it: in the API's answers, and in the topic of calls. Pure."""

from decimal import Decimal
from typing import Any, Final

from shared.encoding import number

SHOWN_FIELDS: Final = (
    "id",
    "external_id",
    "from_number",
    "to_number",
    "direction",
    "status",
    "duration",
    "cost",
    "latency_ms",
    "phone_number_id",
    "endpoint_id",
    "recording_url",
    "hangup_cause",
    "organization_id",
    "livemode",
    "created_at",
    "answered_at",
    "completed_at",
    "transcript",
)
"""The columns of `calls` that are shown, in their order."""
_TEXTS: Final = ("from_number", "to_number", "hangup_cause", "recording_url", "transcript")


def shown_call(row: Any) -> dict[str, object]:
    """A call, from a row of the database with `SHOWN_FIELDS`. Rows of older versions may have empty texts;
    they become null."""
    shown: dict[str, object] = {field: row[field] for field in SHOWN_FIELDS}
    for field in _TEXTS:
        shown[field] = shown[field] or None
    cost: Decimal | None = row["cost"]
    shown["cost"] = None if cost is None else number(cost)
    return shown

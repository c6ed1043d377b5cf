"""The state of a call and its cell, for the programs that fold in Python."""

from collections.abc import Mapping
from typing import Any

OF_TYPE = {
    "call.initiated": "initiated",
    "call.ringing": "ringing",
    "call.answered": "in_progress",
    "call.completed": "completed",
    "call.failed": "failed",
}
RANK = {"initiated": 0, "ringing": 1, "in_progress": 2}
FINAL_RANK = 3
TEXTS = ("direction", "from_number", "to_number", "phone_number_id", "hangup_cause", "recording_url")
NUMBERS = ("duration", "cost", "latency_ms")
CELL = ("organization_id", "livemode", "day", "status", "direction")


def merge(call: Mapping[str, Any] | None, event: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a call after this event. The same event again, or an earlier one later, changes nothing
    that counts: the highest status and the earliest time win."""
    merged = dict(call) if call else _new(event)
    data = event["data"]
    status = data.get("status") or OF_TYPE.get(event["type"], "initiated")
    if _rank(status) > _rank(merged["status"]):
        merged["status"] = status
    if event["timestamp"] <= merged["created_at"]:
        merged["created_at"] = event["timestamp"]
        merged["day"] = event["timestamp"][:10]
    for field in (*TEXTS, *NUMBERS):
        if field in data:
            merged[field] = data[field]
    return merged


def cell(call: Mapping[str, Any]) -> dict[str, Any]:
    """The key of the count that the call belongs to."""
    return {column: call[column] for column in CELL}


def _new(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "call_id": event["call_id"],
        "organization_id": event["organization_id"],
        "livemode": event["livemode"],
        "day": event["timestamp"][:10],
        "status": "initiated",
        "created_at": event["timestamp"],
        **dict.fromkeys(TEXTS, ""),
        **dict.fromkeys(NUMBERS, 0),
    }


def _rank(status: str) -> int:
    return RANK.get(status, FINAL_RANK)

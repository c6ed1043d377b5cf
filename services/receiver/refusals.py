"""Refusals: the class of each reason, and a log that a flood of refused requests cannot fill."""

import logging
import time
from typing import Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from shared.sources.signatures import NOT_CONFIGURED

logger = logging.getLogger("callfold.receiver")

Reason = Literal["missing", "wrong", "stale", "not_configured"]
"""A signature or credentials are missing, wrong, or too old or too new. Or the source lacks a secret or its
public address."""

INTERVAL_SECONDS: Final = 60


def reason_of(refused: str) -> Reason:
    """The class of a refusal, by the text of `Refused`."""
    if refused.startswith(NOT_CONFIGURED):
        return "not_configured"
    if refused.startswith("it was signed more than"):
        return "stale"
    return "missing" if refused.endswith("is missing") else "wrong"


def with_address(reason: str, url: str) -> str:
    """The reason, and the address of the source that the signature was checked for. Its credentials and its
    query are left out."""
    try:
        host = urlsplit(url)
    except ValueError:
        return reason
    address = host._replace(netloc=host.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return f"{reason}; it was checked for the address {address}"


class RefusalLog:
    """Logs the first refusal of each source, and then one line a minute at most."""

    def __init__(self) -> None:
        self._since: dict[UUID, tuple[float, int]] = {}
        """When a source's last line was written, and how many refusals followed it."""

    def add(self, source_id: UUID, reason: str) -> None:
        """Adds one refusal. `reason` is logged: it must have nothing of the request."""
        now = time.monotonic()
        logged_at, more = self._since.get(source_id, (float("-inf"), 0))
        if now - logged_at < INTERVAL_SECONDS:
            self._since[source_id] = logged_at, more + 1
            return
        self._since[source_id] = now, 0
        logger.warning(
            "refused %d requests; the last: %s", more + 1, reason, extra={"source_id": str(source_id)}
        )

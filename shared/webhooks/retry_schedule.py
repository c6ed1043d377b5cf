"""When a failed delivery is sent again. Pure."""

from datetime import datetime, timedelta
from typing import Final

WAITS: Final = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(days=1),
    timedelta(days=1),
    timedelta(days=1),
)
"""The wait after each failed attempt. After the last one, the delivery is given up."""
JITTER_SHARE: Final = 0.2
"""The share by which a wait may be longer, so that deliveries that failed together spread."""
DISABLED_AFTER: Final = timedelta(days=5)
"""How long an endpoint may fail at each attempt before it is disabled."""
_RETRY_AFTER_MAX: Final = timedelta(hours=2)


def next_attempt(
    attempts: int, failed_at: datetime, jitter: float, retry_after: timedelta | None = None
) -> datetime | None:
    """When to send again after this number of attempts, of which the last failed at `failed_at`; None: not
    again. `jitter` is from 0 to 1. `retry_after` is what the endpoint asked for; more than two hours are
    taken as two hours."""
    if attempts > len(WAITS):
        return None
    wait = WAITS[attempts - 1] * (1 + JITTER_SHARE * jitter)
    if retry_after is not None:
        wait = max(wait, min(retry_after, _RETRY_AFTER_MAX))
    return failed_at + wait

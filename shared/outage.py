"""An outage of something that this process needs."""

import logging
import time


class Outage:
    """Logs the start of an outage once, for any number of failed attempts, and its end once, with its
    duration."""

    def __init__(
        self,
        logger: logging.Logger,
        begins: str,
        ends: str,
        *,
        level: int = logging.WARNING,
        each_reason: bool = False,
    ) -> None:
        """`begins` and `ends` are the two messages. The log adds the reason to the first and the seconds to
        the second. With `each_reason`, an outage is logged again whenever its reason changes."""
        self._logger = logger
        self._begins, self._ends = begins, ends
        self._level = level
        self._each_reason = each_reason
        self._reason: str | None = None
        self._began_at_seconds = 0.0

    @property
    def lasts(self) -> bool:
        """Whether the last attempt failed."""
        return self._reason is not None

    def begin(self, reason: str) -> str:
        """Records a failed attempt. Returns the message with its reason. `reason` is logged verbatim: it must
        not contain content of events."""
        message = f"{self._begins}: {reason}"
        if self._reason is None:
            self._began_at_seconds = time.monotonic()
        elif not self._each_reason or reason == self._reason:
            return message
        self._reason = reason
        self._logger.log(self._level, "%s", message)
        return message

    def end(self) -> None:
        """Records a successful attempt."""
        if self._reason is not None:
            self._reason = None
            seconds = time.monotonic() - self._began_at_seconds
            self._logger.log(self._level, "%s after %.1f s", self._ends, seconds)

"""Logs: one line per event, on standard error, as text or JSON. A line never contains content of a record, a
row or a request, nor a key or a password.

A line may name its subject: `extra={"organization_id": …, "call_id": …}`, or a record's `topic`, `partition`
and `offset`. `about` sets the subject of all lines of one request.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from pythonjsonlogger.core import LogData
from pythonjsonlogger.msgspec import MsgspecFormatter

from shared.database.loggable import loggable
from shared.settings.misspelt import deprecated, misspelt
from shared.settings.process import LogSettings

_IDS: Final = (
    "organization_id",
    "call_id",
    "source_id",
    "key_id",
    "user_id",
    "topic",
    "partition",
    "offset",
)
_FIELDS: Final = {"timestamp": "timestamp", "levelname": "level", "name": "logger", "message": "message"}
_NAMES: Final = (*_FIELDS.values(), "service", *_IDS, "exception")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_about: ContextVar[dict[str, object]] = ContextVar("about", default={})  # noqa: B039 (replaced, not changed)


def configure(service: str) -> None:
    """Sets up the process's logging by its settings. A fault that ends the process is also logged."""
    settings = LogSettings()
    as_text = sys.stderr.isatty() if settings.log_format == "auto" else settings.log_format == "text"
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(settings.log_level)  # also for loggers with a level of their own
    handler.setFormatter(_Text() if as_text else _Json(service))
    handler.addFilter(_complete)
    logging.basicConfig(handlers=[handler], level=settings.log_level)
    for library in ("aiokafka", "faststream", "alembic", "httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_the_end
    threading.excepthook = _log_a_threads_end
    sys.unraisablehook = _log_unraisable
    for sentence in (*deprecated(os.environ), *misspelt(os.environ)):
        logging.getLogger("callfold.settings").warning(sentence)


def about(**ids: object) -> None:
    """Adds these ids to all further log lines of this task, a request."""
    _about.set({**_about.get(), **ids})


def _complete(record: logging.LogRecord) -> bool:
    """Gives a line its time and its subject."""
    record.timestamp = (
        f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z"
    )
    for name, value in _about.get().items():
        record.__dict__.setdefault(name, value)
    if record.name == "asyncio":
        # The lines after the first contain representations of tasks and exceptions, with their content.
        record.msg, record.args = record.getMessage().partition("\n")[0], ()
    return True


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("callfold").critical("ends: %s", loggable(error), exc_info=(kind, error, trace))


def _log_a_threads_end(end: threading.ExceptHookArgs) -> None:
    if end.exc_value is not None and not isinstance(end.exc_value, SystemExit):
        name = end.thread.name if end.thread else "unknown"
        _log_fault(f"the thread {name} ends", end.exc_value)


def _log_unraisable(fault: "sys.UnraisableHookArgs") -> None:
    # Not the object: its representation may contain anything.
    if fault.exc_value is not None:
        _log_fault("an exception that could not be raised", fault.exc_value)


def _log_fault(what: str, error: BaseException) -> None:
    logging.getLogger("callfold").error(
        "%s: %s", what, loggable(error), exc_info=(type(error), error, error.__traceback__)
    )


def _traced(error: BaseException | None) -> str:
    """The tracebacks of an exception and its causes, as Python formats them, but with the loggable part of
    their texts only."""
    return "\n".join(
        "".join(
            ["Traceback (most recent call last):\n", *traceback.format_tb(each.__traceback__), loggable(each)]
        )
        for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes, the first one first."""
    if error is None:
        return
    yield from _chain(error.__cause__ or (None if error.__suppress_context__ else error.__context__))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _chain(each)
    yield error


class _Text(logging.Formatter):
    """A line for people, with its subject at the end."""

    def __init__(self) -> None:
        super().__init__("%(timestamp)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name is logging's)
        about = [f" {name}={record.__dict__[name]}" for name in _IDS if name in record.__dict__]
        return super().formatMessage(record) + "".join(about)

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 (the name is logging's)
        return _traced(ei[1])


class _Json(MsgspecFormatter):
    """A line of JSON."""

    def __init__(self, service: str) -> None:
        super().__init__(
            list(_FIELDS),
            rename_fields={**_FIELDS, "exc_info": "exception"},
            static_fields={"service": service},
        )

    def process_log_record(self, log_data: LogData) -> LogData:
        # Extra fields of libraries have not been reviewed, so they are left out.
        return {name: log_data[name] for name in _NAMES if name in log_data}

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 (the name is logging's)
        return _traced(ei[1])

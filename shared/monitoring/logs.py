"""Logs: one line a thing, on standard error, for people or for machines; never what a record, a row or a
request holds, nor a key or a password.

A line may say what it is about: `extra={"organization_id": …, "call_id": …}`, a record's `topic`, `partition`
and `offset`, or, for all that one request logs, `about`.
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
from shared.settings.misspelt import misspelt
from shared.settings.process import LogSettings

_IDS: Final = ("organization_id", "call_id", "key_id", "user_id", "topic", "partition", "offset")
_FIELDS: Final = {"timestamp": "timestamp", "levelname": "level", "name": "logger", "message": "message"}
_NAMES: Final = (*_FIELDS.values(), "service", *_IDS, "exception")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_about: ContextVar[dict[str, object]] = ContextVar("about", default={})  # noqa: B039 (replaced, not changed)


def configure(service: str) -> None:
    """Sets up the process's logging by its settings. What ends the process is logged, too."""
    settings = LogSettings()
    as_text = sys.stderr.isatty() if settings.log_format == "auto" else settings.log_format == "text"
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(settings.log_level)  # for loggers with a level of their own, too
    handler.setFormatter(_Text() if as_text else _Json(service))
    handler.addFilter(_complete)
    logging.basicConfig(handlers=[handler], level=settings.log_level)
    for library in ("aiokafka", "faststream", "alembic", "httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_the_end
    threading.excepthook = _log_a_threads_end
    sys.unraisablehook = _log_unraisable
    for sentence in misspelt(os.environ):
        logging.getLogger("callfold.settings").warning(sentence)


def about(**ids: object) -> None:
    """What the rest of this task, a request, logs is about these."""
    _about.set({**_about.get(), **ids})


def _complete(record: logging.LogRecord) -> bool:
    """Gives a line its time and what it is about."""
    record.timestamp = (
        f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z"
    )
    for name, value in _about.get().items():
        record.__dict__.setdefault(name, value)
    if record.name == "asyncio":
        # Below its first line are the representations of tasks and exceptions, with what they hold.
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
    # Not the object that it is about: its representation may be anything.
    if fault.exc_value is not None:
        _log_fault("an exception that nobody could be told of", fault.exc_value)


def _log_fault(what: str, error: BaseException) -> None:
    logging.getLogger("callfold").error(
        "%s: %s", what, loggable(error), exc_info=(type(error), error, error.__traceback__)
    )


def _traced(error: BaseException | None) -> str:
    """Where an exception and those that led to it were raised. As Python's own, but of their texts only what
    may be told."""
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
    """A line for people, with what it is about at its end."""

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
        # What libraries put beside their messages is nothing that anyone here has looked at.
        return {name: log_data[name] for name in _NAMES if name in log_data}

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 (the name is logging's)
        return _traced(ei[1])

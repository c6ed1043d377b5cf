"""Finds the setting behind a timeout of PostgreSQL or PgBouncer, by its message. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import asyncpg

OWN_LOCK_TIMEOUT: Final = "10s"
"""The lock timeout that callfold sets for its services' statements."""
_SETTINGS: Final = {
    "statement timeout": "statement_timeout",
    "lock timeout": "lock_timeout",
    "idle-in-transaction timeout": "idle_in_transaction_session_timeout",
    "idle-in-transaction session timeout": "idle_in_transaction_session_timeout",
    "transaction timeout": "transaction_timeout",
    "idle-session timeout": "idle_session_timeout",
}
_STATES: Final = frozenset({"25P03", "25P04", "55P03", "57014", "57P05"})
_PROTOCOL_VIOLATION: Final = "08P01"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def timeout_setting(error: BaseException) -> str | None:
    """The name of the PostgreSQL setting that timed out, such as `lock_timeout`; None for any other fault."""
    if not isinstance(error, asyncpg.PostgresError) or error.sqlstate not in _STATES:
        return None
    message = error.message or ""
    return next((name for phrase, name in _SETTINGS.items() if phrase in message), None)


def whose_timeout(error: BaseException, ours: Mapping[str, str] = _NONE) -> str | None:
    """The setting behind a timeout, as a part of a sentence; None for any other fault. `ours` are the
    settings that callfold gave the connection, each with its value or the name of callfold's setting."""
    setting = timeout_setting(error)
    if setting is not None and setting in ours:
        return f"PostgreSQL's {setting}, which callfold sets: {ours[setting]}"
    if setting is not None:
        return (
            f"PostgreSQL's {setting}, which callfold does not set here: the role, the database, the server's "
            "configuration or a pooler does"
        )
    if (
        isinstance(error, asyncpg.PostgresError)
        and error.sqlstate == _PROTOCOL_VIOLATION
        and error.server_source_function is None
        and "timeout" in (error.message or "")
    ):
        return "a setting of PgBouncer"
    return None

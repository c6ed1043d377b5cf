"""Words a fault for logs, without content of a record or a row, and without a password."""

from collections.abc import Mapping
from types import MappingProxyType

import asyncpg

from shared.database.faults import TablesOutdated
from shared.database.timeouts import whose_timeout

_LOGGABLE_CLASSES = frozenset({"08", "23", "25", "28", "3D", "40", "42", "53", "54", "55", "57"})
"""The classes of SQLSTATE in which PostgreSQL's primary message names tables and constraints, but never
stored values."""


def loggable(error: BaseException, ours: Mapping[str, str] = MappingProxyType({})) -> str:
    """A fault in words that may be logged, without content of a record or a row, and without a password. For
    a timeout they name the setting. `ours` are the settings that callfold gave the connection
    (`whose_timeout`)."""
    kind = type(error).__name__
    if (whose := whose_timeout(error, ours)) is not None and isinstance(error, asyncpg.PostgresError):
        return f"{kind} (SQLSTATE {error.sqlstate}): {error.message} ({whose})"
    if isinstance(error, TimeoutError) and not str(error):
        return f"{kind}: no answer within callfold's time limit for a statement"
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        # Not `str(error)`: it contains the DETAIL, which quotes rows.
        message = f": {error.message}" if state[:2] in _LOGGABLE_CLASSES and error.message else ""
        return f"{kind} (SQLSTATE {state}){message}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return str(error).partition("\n")[0]  # the rest is a hint about parameters that callfold does not use
    if isinstance(error, OSError | TablesOutdated) or type(error) is asyncpg.InterfaceError:
        return str(error) or kind
    return kind

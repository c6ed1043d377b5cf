"""Databases whose tables Citus distributes over several servers by organization."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from shared.database.connection import AnyConnection

COORDINATOR: Final = 0
"""The group of the coordinator."""


class Server(NamedTuple):
    """A server. `group` is its number in Citus."""

    group: int
    url: str


async def is_distributed(connection: AnyConnection) -> bool:
    """Whether Citus distributes the table `calls` of this database. Raises asyncpg's errors."""
    if not await connection.fetchval(_HAS_CITUS):
        return False
    found: bool = await connection.fetchval(_HAS_CALLS)
    return found


async def local_group(connection: AnyConnection) -> int | None:
    """The connected server's group in Citus; None if the database is not distributed. Raises asyncpg's
    errors."""
    if not await is_distributed(connection):
        return None
    group: int = await connection.fetchval(_LOCAL_GROUP)
    return group


async def with_custom_plans(connection: AnyConnection) -> None:
    """Makes a session of a distributed database plan each statement with its values: Citus cannot plan all
    of them without. Raises asyncpg's errors."""
    await connection.execute("SET plan_cache_mode = force_custom_plan")


async def servers(connection: AnyConnection, url: str) -> Sequence[Server]:
    """The coordinator and the workers, in the order of their groups. Each is reached with the user and the
    parameters of `url`, which is the connection's. Raises asyncpg's errors."""
    return [
        Server(group, url if is_here else url_of(url, host, port))
        for group, host, port, is_here in await connection.fetch(_SERVERS)
    ]


def url_of(url: str, host: str, port: int) -> str:
    """The URL of the same database on another server."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _ADDRESS]
    return parts._replace(netloc=f"{user}@{address}" if user else address, query=urlencode(query)).geturl()


def address_of(url: str) -> str:
    """The host and the port of a URL, without the user and the password."""
    return urlsplit(url).netloc.rpartition("@")[2]


_ADDRESS: Final = ("host", "port", "target_session_attrs")

_HAS_CITUS: Final = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"

_HAS_CALLS: Final = (
    "SELECT EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = to_regclass('calls'))"
)

_LOCAL_GROUP: Final = "SELECT groupid FROM pg_dist_local_group"

# A server without shards may still have the outbox of shards that were moved away.
# The address of a server in Citus may be one that only the servers themselves can use, such as localhost.
_SERVERS: Final = """
SELECT groupid, nodename, nodeport, groupid = (SELECT groupid FROM pg_dist_local_group)
FROM pg_dist_node WHERE isactive AND noderole = 'primary' ORDER BY groupid
"""

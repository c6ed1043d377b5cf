"""Rights of the services' roles on each server of a distributed database."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from shared.database import roles
from shared.database.connection import Connection
from shared.database.distributed import servers
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.migrations.on_server import on_server
from shared.migrations.places import OF_EACH_SERVER


class Correction(NamedTuple):
    """A statement that corrects the rights on a table."""

    table: str
    statement: str


async def corrections(
    connection: Connection, of_roles: Sequence[str], tables: Sequence[str]
) -> list[Correction]:
    """The statements that give these roles their rights on these tables, and take others. Raises asyncpg's
    errors."""
    given = {tuple(row) for row in await connection.fetch(_RIGHTS, of_roles, tables)}
    wanted = {each for each in roles.rights() if each[0] in of_roles and each[1] in tables}
    return [
        *(
            Correction(table, f"GRANT {right} ON {table} TO {role}")
            for role, table, right in sorted(wanted - given)
        ),
        *(
            Correction(table, f"REVOKE {right} ON {table} FROM {role}")
            for role, table, right in sorted(given - wanted)
        ),
    ]


async def give_rights_on_servers(connection: Connection, database_url: str) -> None:
    """Lets the existing roles use the sequences of distributed tables and the outbox of each server, and
    limits their waits for locks there. Changes only differences. Raises asyncpg's errors."""
    there = [row[0] for row in await connection.fetch(_ROLES, roles.ROLES)]
    for grant in await connection.fetch(_SEQUENCES, there):
        await connection.execute(grant[0])
    limit = f"lock_timeout={OWN_LOCK_TIMEOUT}"
    limited = {row[0] for row in await connection.fetch(_LIMITED, there, limit)}
    for role in there:
        if role not in limited:
            await connection.execute(_LIMIT[role])
    for server in await servers(connection, database_url):
        if server.url != database_url:
            await _give_outbox(server.url)


async def _give_outbox(url: str) -> None:
    """Gives the roles that a server has their rights on its outbox. Citus creates a role there with the first
    right on a distributed table."""
    async with on_server(url) as connection:
        there = [row[0] for row in await connection.fetch(_ROLES, roles.ROLES)]
        for correction in await corrections(connection, there, OF_EACH_SERVER):
            await connection.execute(correction.statement)


_LIMIT: Final = {role: f"ALTER ROLE {role} SET lock_timeout = '{OWN_LOCK_TIMEOUT}'" for role in roles.ROLES}

_ROLES: Final = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[]) ORDER BY 1"

# Citus turns an identity into nextval, which needs the right.
_SEQUENCES: Final = """
SELECT format('GRANT USAGE ON SEQUENCE %s TO %I', sequence, role)
FROM unnest($1::text[]) AS role, (
    SELECT DISTINCT pg_get_serial_sequence(logicalrelid::text, attname) AS sequence
    FROM pg_dist_partition JOIN pg_attribute ON attrelid = logicalrelid
    WHERE attidentity <> ''
) AS sequences
WHERE NOT has_sequence_privilege(role, sequence, 'USAGE')
ORDER BY 1
"""

_LIMITED: Final = """
SELECT rolname::text FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole
WHERE setdatabase = 0 AND rolname = ANY ($1::text[]) AND $2 = ANY (setconfig)
"""

_RIGHTS: Final = """
WITH role AS (SELECT oid, rolname::text AS name FROM pg_roles WHERE rolname = ANY ($1::text[])),
of_us AS (SELECT oid, relname::text AS name, relacl FROM pg_class WHERE oid = ANY ($2::text[]::regclass[]))
SELECT role.name, of_us.name, privilege_type
FROM of_us, aclexplode(relacl) AS acl JOIN role ON role.oid = acl.grantee
UNION ALL
SELECT role.name, of_us.name, privilege_type || ' (' || attname || ')'
FROM of_us JOIN pg_attribute ON attrelid = of_us.oid, aclexplode(attacl) AS acl
    JOIN role ON role.oid = acl.grantee
"""

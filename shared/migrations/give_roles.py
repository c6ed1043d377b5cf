"""Grants the services' roles the privileges of shared/database/roles.py while services run."""

import asyncio
import hashlib
import hmac
import secrets
from base64 import b64encode
from collections import defaultdict
from typing import Final

import asyncpg

from shared.database import roles
from shared.database.connection import Connection, connect
from shared.database.distributed import is_distributed, servers
from shared.migrations.alone import LOCK_TIMEOUT, alone
from shared.migrations.on_server import on_server
from shared.migrations.rights_on_servers import corrections, give_rights_on_servers
from shared.migrations.upgrade import PAUSES_SECONDS, TablesBusy
from shared.settings.database import Pooler

ITERATIONS: Final = 4096
_OTHERS_FIRST: Final = (
    asyncpg.InternalServerError,
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateObjectError,
)
"""Roles belong to the whole cluster: a concurrent run for another database may create or change one."""
_TRIES: Final = 20


class MayNotMakeRoles(Exception):
    """The connected user lacks the privilege. The text is a sentence without its period."""


async def give_roles(database_url: str, pooler: Pooler = "none", *, password: str | None = None) -> None:
    """Creates missing roles and grants each its privileges and policies, on tables of the newest step. Each
    role gets this password, if one is given. Changes only differences: a second run locks nothing.

    A table's changes are one transaction, which gives way to others as a step does. Raises `MayNotMakeRoles`,
    `TablesBusy` and asyncpg's errors; completed tables stay done.
    """
    async with alone(database_url, pooler):
        connection = await connect(
            database_url,
            application_name="callfold-migrate",
            pooler=pooler,
            settings={"lock_timeout": LOCK_TIMEOUT},
        )
        try:
            for pause in (*PAUSES_SECONDS, None):
                try:
                    await _make_roles(connection, password)
                    distributed = await is_distributed(connection)
                    if distributed:
                        await _make_roles_on_servers(connection, database_url)
                    await _give(connection)
                    if distributed:
                        await give_rights_on_servers(connection, database_url)
                    return
                except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                    if pause is None:
                        raise TablesBusy(
                            "The tables are in use, and a lock for the roles' policies was never available. "
                            "Try again"
                        ) from None
                await asyncio.sleep(pause)
        finally:
            await connection.close(timeout=5)


async def _make_roles(connection: Connection, password: str | None) -> None:
    for _ in range(_TRIES):
        try:
            for statement in await _missing_of_roles(connection):
                await connection.execute(statement)
            if password is not None:
                for role in roles.ROLES:
                    await connection.execute(f"ALTER ROLE {role} PASSWORD '{scram_verifier(password)}'")
            return
        except _OTHERS_FIRST:
            continue
        except asyncpg.InsufficientPrivilegeError as error:
            raise MayNotMakeRoles(
                f"The connected user cannot create the roles ({error.message}). Connect as a user with "
                "CREATEROLE, or let such a user create them first"
            ) from None
    raise TablesBusy("Other processes keep changing the roles. Try again")


async def _make_roles_on_servers(connection: Connection, database_url: str) -> None:
    """Makes the roles on each other server that lacks them. Citus passes on only roles that it has seen
    made."""
    for server in await servers(connection, database_url):
        if server.url != database_url:
            async with on_server(server.url) as there:
                await there.execute("SET citus.enable_ddl_propagation = off")
                await _make_roles(there, None)


async def _missing_of_roles(connection: Connection) -> list[str]:
    """The statements that create or correct the roles. BYPASSRLS is included only if it can be granted.
    Without it, a service cannot COPY and must connect as the tables' owner."""
    there = {row["rolname"]: row for row in await connection.fetch(_ROLES, roles.ROLES)}
    may_give = await connection.fetchval(_MAY_GIVE_BYPASS)
    statements = []
    for role in roles.ROLES:
        is_to_bypass = role not in roles.WALLED
        if role not in there:
            created = roles.create_role(role)
            statements.append(created if may_give else created.removesuffix(" BYPASSRLS"))
        elif is_to_bypass and may_give and not there[role]["rolbypassrls"]:
            statements.append(f"ALTER ROLE {role} BYPASSRLS")
        elif not is_to_bypass and there[role]["rolbypassrls"]:
            statements.append(f"ALTER ROLE {role} NOBYPASSRLS")
    return statements


def scram_verifier(password: str) -> str:
    """The verifier that PostgreSQL stores in place of a password (RFC 5803). It is computed here, so that no
    log of the server can contain the password. The password is ASCII and so needs no normalization."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


async def _give(connection: Connection) -> None:
    for statements in (await missing(connection)).values():
        async with connection.transaction(isolation="read_committed"):
            for statement in statements:
                await connection.execute(statement)


async def missing(connection: Connection) -> dict[str, list[str]]:
    """The statements that correct privileges and policies, by the table or function that they change."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for table, correction in await corrections(connection, roles.ROLES, roles.all_tables()):
        found[table].append(correction)
    callable_ = {tuple(row) for row in await connection.fetch(_CALLABLE, roles.ROLES)}
    for role, functions in roles.FUNCTION_RIGHTS.items():
        for function in functions:
            if (role, function) not in callable_:
                found[function].append(f"GRANT EXECUTE ON FUNCTION {function} TO {role}")
    enabled = {row[0] for row in await connection.fetch(_WALLED, list(roles.tenant_tables()))}
    policies = {row[:2]: row for row in map(tuple, await connection.fetch(_POLICIES))}
    for policy in roles.policies(distributed=await is_distributed(connection)):
        as_is = policies.get((policy.table, policy.name))
        if as_is != (policy.table, policy.name, "ALL", sorted(policy.roles), policy.condition, None):
            if as_is is not None:
                found[policy.table].append(f"DROP POLICY {policy.name} ON {policy.table}")
            found[policy.table].append(roles.create_policy(policy))
    for table in roles.tenant_tables():
        if table not in enabled:
            found[table].append(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    return dict(found)


_ROLES: Final = "SELECT rolname, rolbypassrls FROM pg_roles WHERE rolname = ANY ($1::text[])"

_MAY_GIVE_BYPASS: Final = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"

_CALLABLE: Final = """
SELECT rolname::text, pg_proc.oid::regprocedure::text
FROM pg_proc, aclexplode(proacl) AS acl JOIN pg_roles ON pg_roles.oid = acl.grantee
WHERE rolname = ANY ($1::text[])
"""

_WALLED: Final = (
    "SELECT relname::text FROM pg_class WHERE oid = ANY ($1::text[]::regclass[]) AND relrowsecurity"
)

_POLICIES: Final = """
SELECT tablename::text, policyname::text, cmd, array(SELECT unnest(roles)::text COLLATE "C" ORDER BY 1),
    CASE WHEN qual LIKE '(%' THEN qual ELSE '(' || qual || ')' END, with_check
FROM pg_policies WHERE schemaname = current_schema() AND permissive = 'PERMISSIVE'
"""

"""Distributes the tables over the servers of Citus, by organization."""

from collections.abc import Mapping
from typing import Final

from shared.database import roles
from shared.database.connection import Connection, connect
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.migrations.alone import alone
from shared.settings.database import Pooler

BY_ORGANIZATION: Final = (
    "calls",
    "call_events",
    "deleted_calls",
    "daily_call_deltas",
    "daily_call_counts",
    "daily_call_totals",
    "count_versions",
    "count_days",
    "pruned_call_counts",
    "silent_calls",
    "audit_log",
)
"""The tables whose rows are on the server of their organization. The first one is distributed
first, and the others like it."""
ON_EACH_SERVER: Final = (
    "alembic_version",
    "organizations",
    "api_keys",
    "members",
    "sources",
    "phone_numbers",
    "quarantined_records",
)
"""The tables that each server has whole: small, or without an organization in their key."""
ON_ONE_SERVER: Final = (
    ("webhooks", "webhook_messages", "webhook_deliveries"),
    ("source_calls",),
    ("partitions_read",),
    ("proofs",),
)
"""The tables that one server has whole, each group together. All servers can use them."""
UNDISTRIBUTED: Final = ("publisher", "call_changes")
"""The tables of the outbox. No trigger on a shard can write to them."""

SETTINGS: Final[Mapping[str, str]] = {
    # SET LOCAL reaches the servers: without it, row-level security hides every row.
    "citus.propagate_set_commands": "local",
    # One connection per server, and so one snapshot.
    "citus.multi_shard_modify_mode": "sequential",
    # Otherwise each look into the catalog checks every table for being a shard.
    "citus.override_table_visibility": "off",
}
"""Settings of the database, for all sessions on all servers."""
SHARDS_PER_SERVER: Final = 2
"""Each statement over several organizations pays per shard. Shards can be split later."""


class CannotDistribute(Exception):
    """The database cannot be distributed. The text is a sentence without its period."""


async def distribute(database_url: str, pooler: Pooler = "none") -> None:
    """Distributes each table that is not yet distributed, with its rows. Services must not run meanwhile.

    A table is one transaction; completed tables stay done. Running it again is harmless. Raises
    `CannotDistribute` and asyncpg's errors."""
    async with alone(database_url, pooler):
        connection = await connect(database_url, application_name="callfold-migrate", pooler=pooler)
        try:
            await _distribute(connection)
        finally:
            await connection.close(timeout=5)


async def _distribute(connection: Connection) -> None:
    if not await connection.fetchval(_HAS_CITUS):
        raise CannotDistribute("The database does not have the extension citus")
    servers = await connection.fetchval(_SERVERS)
    if not servers:
        raise CannotDistribute("Citus has no server for shards; add one with citus_add_node")
    there = {row[0] for row in await connection.fetch(_DISTRIBUTED)}
    if "calls" not in there and await connection.fetchval("SELECT count(*) FROM publisher"):
        raise CannotDistribute("A publisher follows the calls; end it first with `callfold publish --end`")
    for name, value in SETTINGS.items():
        await connection.execute(_set_of_database(name, value))
    for table, statement in _statements().items():
        if table not in there:
            await _distribute_table(connection, table, statement, servers * SHARDS_PER_SERVER)
    for statement in await _grants(connection):
        await connection.execute(statement)


def _statements() -> dict[str, tuple[str, ...]]:
    """The statement that distributes each table and its parameters, in an order that foreign keys allow."""
    first, *others = BY_ORGANIZATION
    statements: dict[str, tuple[str, ...]] = {table: (_ON_EACH_SERVER, table) for table in ON_EACH_SERVER}
    statements[first] = (_BY_ORGANIZATION, first, "none")
    statements |= {table: (_BY_ORGANIZATION, table, first) for table in others}
    for first, *others in ON_ONE_SERVER:
        statements[first] = (_ON_ONE_SERVER, first, "none")
        statements |= {table: (_ON_ONE_SERVER, table, first) for table in others}
    return statements


async def _distribute_table(
    connection: Connection, table: str, statement: tuple[str, ...], shards: int
) -> None:
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL citus.shard_count = {shards}")
        await connection.execute("SET LOCAL citus.enable_unsafe_triggers = on")
        for change in _BEFORE.get(table, ()):
            await connection.execute(change)
        for policy in roles.policies(distributed=True):
            if policy.table == table and await connection.fetchval(_HAS_POLICY, table, policy.name):
                await connection.execute(roles.alter_policy(policy))
        await connection.execute(*statement)


async def _grants(connection: Connection) -> list[str]:
    """The statements that let the services' roles, if they exist, use the sequences of identity columns, and
    that limit their waits for locks on each server."""
    there = {row[0] for row in await connection.fetch(_ROLES, list(roles.ROLES))}
    sequences = ", ".join(row[0] for row in await connection.fetch(_SEQUENCES))
    return [
        statement
        for role in roles.ROLES
        if role in there
        for statement in (
            f"GRANT USAGE ON SEQUENCE {sequences} TO {role}",
            f"ALTER ROLE {role} SET lock_timeout = '{OWN_LOCK_TIMEOUT}'",
        )
    ]


def _set_of_database(name: str, value: str) -> str:
    return f"""
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {name} = {value}', current_database()); END $$
"""


# The tables of versions are written by the name of their shards: a trigger on a shard may use no distributed
# table beside its transition table.
_DELTAS_APPLIED: Final = """
CREATE OR REPLACE FUNCTION callfold_deltas_applied() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    versions text;
    days text;
BEGIN
    SELECT
        'public.' || max(shard_name(there.logicalrelid, there.shardid))
            FILTER (WHERE there.logicalrelid = 'public.count_versions'::regclass),
        'public.' || max(shard_name(there.logicalrelid, there.shardid))
            FILTER (WHERE there.logicalrelid = 'public.count_days'::regclass)
    INTO STRICT versions, days
    FROM pg_dist_shard AS here JOIN pg_dist_shard AS there USING (shardminvalue)
    WHERE here.shardid = substring(TG_TABLE_NAME FROM '[0-9]+$')::bigint;
    EXECUTE format($statement$
        WITH versions AS (
            INSERT INTO %s AS kept (organization_id, version)
            SELECT organization_id, extract(epoch FROM clock_timestamp()) * 1000000
            FROM (SELECT DISTINCT organization_id FROM applied ORDER BY organization_id) AS organization
            ON CONFLICT (organization_id)
                DO UPDATE SET version = greatest(excluded.version, kept.version + 1)
            RETURNING organization_id, version
        )
        INSERT INTO %s (organization_id, livemode, day, version)
        SELECT organization_id, livemode, day, versions.version
        FROM (SELECT DISTINCT organization_id, livemode, day FROM applied) AS days
        JOIN versions USING (organization_id)
        ORDER BY organization_id, livemode, day
        ON CONFLICT (organization_id, livemode, day) DO UPDATE SET version = excluded.version
    $statement$, versions, days);
    RETURN NULL;
END
$$
"""

# The organization's server evaluates it all. An organization without a version has no state.
_COUNTS_STATE: Final = """
CREATE OR REPLACE FUNCTION callfold_counts_state(organization uuid)
RETURNS TABLE (server text, version bigint, waiting bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN
            concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time(),
                      pg_stat_get_bgwriter_stat_reset_time()) END,
        kept.version,
        (SELECT count(*)
         FROM (SELECT 1 FROM public.daily_call_deltas AS delta
               WHERE delta.organization_id = organization LIMIT 1001) AS deltas)
    FROM public.count_versions AS kept WHERE kept.organization_id = organization;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, 0::bigint, 0::bigint;
    END IF;
END
$$
"""

_COUNTS_REPAIRED: Final = """
CREATE OR REPLACE FUNCTION callfold_counts_repaired(organization uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    repaired bigint := extract(epoch FROM clock_timestamp()) * 1000000;
BEGIN
    INSERT INTO public.count_versions AS kept (organization_id, version) VALUES (organization, repaired)
    ON CONFLICT (organization_id) DO UPDATE SET version = greatest(excluded.version, kept.version + 1)
    RETURNING version INTO repaired;
    INSERT INTO public.count_days (organization_id, livemode, day, version)
    SELECT organization, livemode, day, repaired
    FROM (SELECT livemode, day FROM public.daily_call_totals WHERE organization_id = organization
          UNION
          SELECT livemode, day FROM public.daily_call_counts WHERE organization_id = organization) AS days
    ORDER BY livemode, day
    ON CONFLICT (organization_id, livemode, day) DO UPDATE SET version = excluded.version;
END
$$
"""

# The trigger of the outbox cannot write to a table that is not distributed.
_BEFORE: Final[Mapping[str, tuple[str, ...]]] = {
    "calls": tuple(
        f"DROP TRIGGER IF EXISTS callfold_calls_{name} ON calls"
        for name in ("inserted", "updated", "deleted")
    ),
    "daily_call_deltas": (_DELTAS_APPLIED, _COUNTS_STATE, _COUNTS_REPAIRED),
}

_ON_EACH_SERVER: Final = "SELECT create_reference_table($1::text::regclass)"

_BY_ORGANIZATION: Final = (
    "SELECT create_distributed_table($1::text::regclass, 'organization_id', colocate_with => $2)"
)

_ON_ONE_SERVER: Final = "SELECT create_distributed_table($1::text::regclass, NULL, colocate_with => $2)"

_HAS_CITUS: Final = "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')"

_SERVERS: Final = "SELECT count(*) FROM pg_dist_node WHERE shouldhaveshards AND noderole = 'primary'"

_DISTRIBUTED: Final = "SELECT logicalrelid::text FROM pg_dist_partition"

_HAS_POLICY: Final = """
SELECT EXISTS (SELECT 1 FROM pg_policies
               WHERE schemaname = current_schema() AND tablename = $1 AND policyname = $2)
"""

_ROLES: Final = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])"

_SEQUENCES: Final = """
SELECT DISTINCT pg_get_serial_sequence(logicalrelid::text, attname)
FROM pg_dist_partition JOIN pg_attribute ON attrelid = logicalrelid
WHERE attidentity <> '' ORDER BY 1
"""

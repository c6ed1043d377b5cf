"""versions of counts

An answer that was computed from an organization's counts stays exact while their state is unchanged: the
version of the applied counts, and the number of waiting deltas. Whoever applies deltas deletes them. The
trigger then gives the organization a new version, even for an aggregator of an older version.

Each request looks for waiting deltas, so their table is vacuumed ten times as often."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# DO UPDATE evaluates nextval while it holds the row's lock. So an organization's versions are in the order in
# which its transactions commit.
DELTAS_APPLIED = """
CREATE OR REPLACE FUNCTION callfold_deltas_applied() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WITH versions AS (
        INSERT INTO public.count_versions AS kept (organization_id, version)
        SELECT organization_id, nextval('public.count_version')
        FROM (SELECT DISTINCT organization_id FROM applied ORDER BY organization_id) AS organization
        ON CONFLICT (organization_id) DO UPDATE SET version = nextval('public.count_version')
        RETURNING organization_id, version
    )
    INSERT INTO public.count_days (organization_id, livemode, day, version)
    SELECT organization_id, livemode, day, versions.version
    FROM (SELECT DISTINCT organization_id, livemode, day FROM applied) AS days
    JOIN versions USING (organization_id)
    ORDER BY organization_id, livemode, day
    ON CONFLICT (organization_id, livemode, day) DO UPDATE SET version = excluded.version;
    RETURN NULL;
END
$$
"""

TRIGGER = """
CREATE TRIGGER callfold_deltas_applied AFTER DELETE ON daily_call_deltas
REFERENCING OLD TABLE AS applied
FOR EACH STATEMENT EXECUTE FUNCTION callfold_deltas_applied()
"""

COUNTS_REPAIRED = """
CREATE OR REPLACE FUNCTION callfold_counts_repaired(organization uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WITH versions AS (
        INSERT INTO public.count_versions AS kept (organization_id, version)
        VALUES (organization, nextval('public.count_version'))
        ON CONFLICT (organization_id) DO UPDATE SET version = nextval('public.count_version')
        RETURNING version
    )
    INSERT INTO public.count_days (organization_id, livemode, day, version)
    SELECT organization, livemode, day, versions.version
    FROM (SELECT livemode, day FROM public.daily_call_totals WHERE organization_id = organization
          UNION
          SELECT livemode, day FROM public.daily_call_counts WHERE organization_id = organization) AS days
    CROSS JOIN versions
    ORDER BY livemode, day
    ON CONFLICT (organization_id, livemode, day) DO UPDATE SET version = excluded.version;
END
$$
"""

# After a crash, PostgreSQL may give a version again that was not yet flushed, even if the postmaster
# survived. A crash also resets the statistics, which changes `server`. A standby has no state, because its
# primary may crash unnoticed.
COUNTS_STATE = """
CREATE OR REPLACE FUNCTION callfold_counts_state(organization uuid)
RETURNS TABLE (server text, version bigint, waiting bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN
            concat_ws(' ', pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time()) END,
        coalesce((SELECT kept.version FROM public.count_versions AS kept
                  WHERE kept.organization_id = organization), 0),
        (SELECT count(*)
         FROM (SELECT FROM public.daily_call_deltas AS delta
               WHERE delta.organization_id = organization LIMIT 1001) AS deltas);
END
$$
"""


def upgrade() -> None:
    op.execute("CREATE SEQUENCE count_version")
    op.create_table(
        "count_versions",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="increases whenever the counts change"),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("count_versions_pkey")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "count_days",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "version", sa.BigInteger(), nullable=False, comment="the version that changed the day last"
        ),
        sa.PrimaryKeyConstraint("organization_id", "livemode", "day", name=op.f("count_days_pkey")),
        postgresql_with={"fillfactor": "50"},
    )
    for function in (DELTAS_APPLIED, COUNTS_REPAIRED, COUNTS_STATE):
        op.execute(function)
    op.execute(
        "REVOKE ALL ON FUNCTION callfold_deltas_applied, callfold_counts_repaired, callfold_counts_state "
        "FROM PUBLIC"
    )
    op.execute(TRIGGER)
    op.execute("ALTER TABLE daily_call_deltas SET (autovacuum_vacuum_threshold = 1000)")


def downgrade() -> None:
    op.execute("ALTER TABLE daily_call_deltas SET (autovacuum_vacuum_threshold = 10000)")
    op.execute("DROP TRIGGER callfold_deltas_applied ON daily_call_deltas")
    op.execute("DROP FUNCTION callfold_counts_state, callfold_counts_repaired, callfold_deltas_applied")
    op.drop_table("count_days")
    op.drop_table("count_versions")
    op.execute("DROP SEQUENCE count_version")

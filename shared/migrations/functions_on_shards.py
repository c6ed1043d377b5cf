"""The functions that have another form in a distributed database."""

from collections.abc import Mapping
from typing import Final

# The tables of versions are written by the name of their shards: a trigger on a shard may use no distributed
# table beside its transition table.
DELTAS_APPLIED: Final = """
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
COUNTS_STATE: Final = """
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

COUNTS_REPAIRED: Final = """
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

# It does not NOTIFY: PostgreSQL prepares no transaction that does, and one over several servers is prepared.
CALLS_CHANGED: Final = """
CREATE OR REPLACE FUNCTION callfold_calls_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM public.publisher) AND EXISTS (SELECT FROM changed) THEN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO public.call_changes (organization_ids, call_ids)
            SELECT array_agg(organization_id), array_agg(id) FROM changed;
        ELSE
            INSERT INTO public.call_changes (organization_ids, call_ids, revisions_before, marks_before)
            SELECT array_agg(organization_id), array_agg(id), array_agg(revision), array_agg((
                CASE status
                    WHEN 'initiated' THEN 1 WHEN 'ringing' THEN 2 WHEN 'in_progress' THEN 3
                    WHEN 'completed' THEN 4 WHEN 'failed' THEN 5 WHEN 'busy' THEN 6
                    WHEN 'no_answer' THEN 7 WHEN 'canceled' THEN 8 ELSE 0
                END
                + CASE WHEN livemode THEN 16 ELSE 0 END
                + CASE WHEN answered_at IS NOT NULL THEN 32 ELSE 0 END
                + CASE WHEN recording_url <> '' THEN 64 ELSE 0 END
                + CASE WHEN transcript <> '' THEN 128 ELSE 0 END
            )::smallint)
            FROM changed;
        END IF;
    END IF;
    RETURN NULL;
END
$$
"""

FUNCTIONS: Final[Mapping[str, str]] = {
    "callfold_calls_changed": CALLS_CHANGED,
    "callfold_deltas_applied": DELTAS_APPLIED,
    "callfold_counts_state": COUNTS_STATE,
    "callfold_counts_repaired": COUNTS_REPAIRED,
}
"""The statement that makes each function."""

"""plans, and the lookup of credentials

The API finds credentials before it knows the organization whose rows it may see: by functions that run with
their owner's rights, and give one row each. They are planned once a connection, whatever the API's own
statements are; what they look for is always one row by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = """
CREATE OR REPLACE FUNCTION callfold_key(hash bytea)
RETURNS TABLE (
    id uuid, organization_id uuid, livemode boolean, key_hash bytea, scopes text[], expires_at timestamptz,
    allowed_networks cidr[], time_zone text, plan text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT k.id, k.organization_id, k.livemode, k.key_hash, k.scopes, k.expires_at,
        k.allowed_networks, o.time_zone, o.plan
    FROM public.api_keys AS k JOIN public.organizations AS o ON o.id = k.organization_id
    WHERE k.key_hash = hash AND k.revoked_at IS NULL;
END
$$
"""

MEMBER = """
CREATE OR REPLACE FUNCTION callfold_member(member uuid, organization uuid)
RETURNS TABLE (organization_id uuid, time_zone text, plan text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT m.organization_id, o.time_zone, o.plan
    FROM public.members AS m JOIN public.organizations AS o ON o.id = m.organization_id
    WHERE m.user_id = member AND (organization IS NULL OR m.organization_id = organization)
    ORDER BY m.joined_at, m.organization_id
    LIMIT 1;
END
$$
"""

# Two processes that tell of the same keys lock their rows in the same order.
KEYS_USED = """
CREATE OR REPLACE FUNCTION callfold_keys_used(ids uuid[], times timestamptz[])
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM public.api_keys AS k WHERE k.id = ANY (ids) ORDER BY k.id FOR NO KEY UPDATE;
    UPDATE public.api_keys AS k SET last_used_at = used.at
    FROM unnest(ids, times) AS used (id, at)
    WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at);
END
$$
"""


def upgrade() -> None:
    op.add_column(
        "organizations",
        sa.Column("plan", sa.Text(), server_default="unlimited", nullable=False, comment="by CALLFOLD_PLANS"),
    )
    for function in (KEY, MEMBER, KEYS_USED):
        op.execute(function)
    # Whoever may ask is given the right with the roles.
    op.execute("REVOKE ALL ON FUNCTION callfold_key, callfold_member, callfold_keys_used FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION callfold_keys_used, callfold_member, callfold_key")
    op.drop_column("organizations", "plan")

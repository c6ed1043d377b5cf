"""time zone rules

The API's role sees no organization before it is known whose rows it may see. So all services ask a function
for the rules, which runs with its owner's rights and names no organization."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ZONE_RULES = """
CREATE OR REPLACE FUNCTION callfold_zone_rules()
RETURNS TABLE (time_zone text, zone_rules text, organizations bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT o.time_zone, o.zone_rules, count(*) FROM public.organizations AS o
    GROUP BY o.time_zone, o.zone_rules
$$
"""


def upgrade() -> None:
    comment = "the rules of time_zone that its calls' days were found by; null: not known"
    op.add_column("organizations", sa.Column("zone_rules", sa.Text(), comment=comment))
    op.execute(ZONE_RULES)
    # `callfold migrate --roles` gives the services' roles the right.
    op.execute("REVOKE ALL ON FUNCTION callfold_zone_rules FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION callfold_zone_rules")
    op.drop_column("organizations", "zone_rules")

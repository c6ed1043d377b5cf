"""time zone rules"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    comment = "the rules of time_zone that its calls' days were found by: shared/zones.py; null: not known"
    op.add_column("organizations", sa.Column("zone_rules", sa.Text(), comment=comment))


def downgrade() -> None:
    op.drop_column("organizations", "zone_rules")

"""the hour of a call"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    comment = "of that day, from its first instant on: 0 to 24; null: of before, and counted in none"
    op.add_column("calls", sa.Column("hour", sa.SmallInteger(), comment=comment))


def downgrade() -> None:
    op.drop_column("calls", "hour")

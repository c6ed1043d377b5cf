"""the laws of a call"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    comment = "the version of the fold's laws that the row was folded by"
    op.add_column(
        "calls",
        sa.Column("laws", sa.SmallInteger(), server_default=sa.text("1"), nullable=False, comment=comment),
    )


def downgrade() -> None:
    op.drop_column("calls", "laws")

"""how far partitions are read"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "partitions_read",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False, comment="how many the topic has"),
        sa.Column(
            "read_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="every record that was published before this moment is stored",
        ),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("partitions_read_pkey")),
    )
    op.create_table(
        "silent_calls",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="the call's version when it was seen"),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when the call was first seen to be silent at this version",
        ),
        sa.PrimaryKeyConstraint("organization_id", "call_id", name=op.f("silent_calls_pkey")),
    )


def downgrade() -> None:
    op.drop_table("silent_calls")
    op.drop_table("partitions_read")

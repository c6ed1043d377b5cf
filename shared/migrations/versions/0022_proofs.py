"""proofs: the runs of `callfold verify --record`, for the operators' console"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proofs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.clock_timestamp(),
        ),
        sa.Column(
            "heartbeat_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.clock_timestamp(),
            comment="when its process last stored its progress",
        ),
        sa.Column(
            "finished_at", sa.DateTime(timezone=True), comment="null: it runs, or its process was killed"
        ),
        sa.Column("calls_done", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("calls_expected", sa.BigInteger(), comment="approximately; null: unknown"),
        sa.Column("exact", sa.Boolean(), comment="null: no result"),
        sa.Column("cells", sa.BigInteger()),
        sa.Column("calls", sa.BigInteger()),
        sa.Column("events", sa.BigInteger()),
        sa.Column("deltas", sa.BigInteger(), comment="waiting in its snapshot"),
        sa.Column("differences_found", sa.BigInteger()),
        sa.Column(
            "differences",
            ARRAY(sa.Text()),
            nullable=False,
            server_default="{}",
            comment="the first ones as sentences, without content of calls",
        ),
        sa.Column("error", sa.Text(), comment="why it failed; null: it did not"),
        sa.PrimaryKeyConstraint("id", name=op.f("proofs_pkey")),
    )
    op.create_index(op.f("proofs_started_at_idx"), "proofs", ["started_at"])


def downgrade() -> None:
    op.drop_table("proofs")

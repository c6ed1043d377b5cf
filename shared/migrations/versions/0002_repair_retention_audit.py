"""repair, retention, audit"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "calls",
        sa.Column(
            "revision",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="how often the row was written anew: who writes it must have read this one",
        ),
    )
    op.create_table(
        "pruned_call_counts",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False, comment="'unknown' where the call has none"),
        sa.Column(
            "phone_number_id", sa.Uuid(), nullable=False, comment="the nil UUID where the call has none"
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=False),
        sa.Column("cost_cents", sa.Numeric(precision=22, scale=4), nullable=False),
        sa.Column("latency_ms", sa.BigInteger(), nullable=False),
        sa.Column("latency_calls", sa.BigInteger(), nullable=False, comment="how many calls have a latency"),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "livemode",
            "day",
            "direction",
            "phone_number_id",
            "status",
            name=op.f("pruned_call_counts_pkey"),
        ),
    )
    op.create_table(
        "audit_log",
        sa.Column("organization_id", sa.Uuid(), nullable=False, comment="the nil UUID where none is known"),
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="an API key by its id, an operator, a service"),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False, comment="the id of what it was done to"),
        sa.Column("details", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("audit_log_pkey")),
    )
    op.create_index(
        op.f("audit_log_organization_id_at_idx"), "audit_log", ["organization_id", "at"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("audit_log_organization_id_at_idx"), table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_table("pruned_call_counts")
    op.drop_column("calls", "revision")

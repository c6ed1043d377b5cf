"""sources: telephony systems in their own form, the organizations of their calls, and numbers"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("serves", sa.Uuid(), comment="the organization of records that name none; null: none"),
        sa.Column(
            "organizations",
            JSONB(),
            nullable=False,
            server_default="{}",
            comment="the organization's id by each value that records name",
        ),
        sa.Column("organizations_by", sa.Text(), comment="the field of that value; null: the dialect's"),
        sa.Column("secrets", sa.LargeBinary(), comment="encrypted JSON (Fernet); null: no secrets"),
        sa.Column("settings", JSONB(), nullable=False, server_default="{}"),
        sa.Column("url", sa.Text(), comment="the public address that the system calls"),
        sa.Column("topic", sa.Text(), comment="the Kafka topic of its records; null: it calls by HTTP"),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", _instant, nullable=False, server_default=sa.func.now()),
        sa.Column("changed_at", _instant, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name=op.f("sources_pkey")),
        sa.UniqueConstraint("name", name=op.f("sources_name_key")),
        sa.UniqueConstraint("topic", name=op.f("sources_topic_key")),
    )
    op.create_table(
        "source_calls",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False, comment="the call's id in the source"),
        sa.Column("seen_at", _instant, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("organization_id", "call_id", "source_id", name=op.f("source_calls_pkey")),
    )
    op.create_index("source_calls_call_idx", "source_calls", ["source_id", "call_id"])
    op.create_index(op.f("source_calls_seen_at_idx"), "source_calls", ["seen_at"])
    op.create_table(
        "phone_numbers",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("phone_number_id", sa.Uuid(), nullable=False, comment="the id that its calls get"),
        sa.Column("created_at", _instant, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("organization_id", "number", name=op.f("phone_numbers_pkey")),
    )
    op.add_column(
        "quarantined_records",
        sa.Column("source_id", sa.Uuid(), comment="the source of a delivery; null: not a delivery"),
    )
    op.add_column(
        "quarantined_records",
        sa.Column(
            "waits_for",
            sa.Text(),
            comment="the call's id in the source, while another delivery must name its organization",
        ),
    )
    op.create_index(
        "quarantined_records_waiting_idx",
        "quarantined_records",
        ["source_id", "waits_for"],
        postgresql_where=sa.text("waits_for IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("quarantined_records_waiting_idx", "quarantined_records")
    op.drop_column("quarantined_records", "waits_for")
    op.drop_column("quarantined_records", "source_id")
    op.drop_table("phone_numbers")
    op.drop_table("source_calls")
    op.drop_table("sources")

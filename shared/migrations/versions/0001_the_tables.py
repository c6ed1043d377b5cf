"""the tables"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column(
            "key_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the key; the key itself is kept nowhere",
        ),
        sa.Column(
            "hint", sa.Text(), nullable=False, comment="the key's first and last letters, to tell keys apart"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("key_hash", name=op.f("api_keys_key_hash_key")),
    )
    op.create_table(
        "call_events",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column(
            "occurred_at", sa.DateTime(timezone=True), nullable=False, comment="the event's own timestamp"
        ),
        sa.Column("payload", sa.Text(), nullable=False, comment="the record's value, letter by letter"),
        sa.PrimaryKeyConstraint("organization_id", "call_id", "id", name=op.f("call_events_pkey")),
    )
    op.create_table(
        "calls",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "external_id", sa.Text(), nullable=True, comment="the source's call id, where that is no UUID"
        ),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=True),
        sa.Column("from_number", sa.Text(), nullable=True),
        sa.Column("to_number", sa.Text(), nullable=True),
        sa.Column("phone_number_id", sa.Uuid(), nullable=True),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True),
        sa.Column("duration", sa.Integer(), nullable=True, comment="seconds"),
        sa.Column("cost", sa.Numeric(precision=14, scale=4), nullable=True, comment="cents"),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("hangup_cause", sa.Text(), nullable=True),
        sa.Column("recording_url", sa.Text(), nullable=True),
        sa.Column("transcript", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "day",
            sa.Date(),
            nullable=False,
            comment="the organization's day of created_at, under which it counts now",
        ),
        sa.Column("version", sa.Integer(), nullable=False, comment="how many events it is the fold of"),
        sa.CheckConstraint("direction IN ('inbound', 'outbound')", name=op.f("calls_direction_check")),
        sa.CheckConstraint(
            "status IN ('initiated', 'ringing', 'in_progress', "
            "'completed', 'failed', 'busy', 'no_answer', 'canceled')",
            name=op.f("calls_status_check"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("calls_pkey")),
        postgresql_with={"fillfactor": "85"},
    )
    op.create_index(
        "calls_newest_idx",
        "calls",
        ["organization_id", "livemode", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "calls_newest_of_phone_number_idx",
        "calls",
        [
            "organization_id",
            "livemode",
            "phone_number_id",
            sa.literal_column("created_at DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        postgresql_where=sa.text("phone_number_id IS NOT NULL"),
    )
    op.create_table(
        "daily_call_counts",
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
            name=op.f("daily_call_counts_pkey"),
        ),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "daily_call_deltas",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
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
        sa.Column("written_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("daily_call_deltas_pkey")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0",
            "autovacuum_vacuum_threshold": "10000",
            "autovacuum_vacuum_insert_threshold": "-1",
            "autovacuum_analyze_scale_factor": "0",
            "autovacuum_analyze_threshold": "50000",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_table(
        "deleted_calls",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "call_id", name=op.f("deleted_calls_pkey")),
    )
    op.create_table(
        "members",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name=op.f("members_pkey")),
    )
    op.create_index(op.f("members_user_id_joined_at_idx"), "members", ["user_id", "joined_at"], unique=False)
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "time_zone",
            sa.Text(),
            server_default="UTC",
            nullable=False,
            comment="IANA name; days are counted in it",
        ),
        sa.Column("retention_days", sa.Integer(), nullable=True, comment="null: calls are kept for ever"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("retention_days > 0", name=op.f("organizations_retention_days_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("organizations_pkey")),
    )
    op.create_table(
        "quarantined_records",
        sa.Column(
            "id",
            sa.Uuid(),
            nullable=False,
            comment="made of the record, so that redelivery adds no second row",
        ),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column(
            "produced_at", sa.DateTime(timezone=True), nullable=True, comment="the record's own timestamp"
        ),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("header_names", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("header_values", sa.ARRAY(sa.LargeBinary()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "quarantined_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("quarantined_records_pkey")),
    )
    op.create_index(
        op.f("quarantined_records_quarantined_at_idx"),
        "quarantined_records",
        ["quarantined_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("quarantined_records_quarantined_at_idx"), table_name="quarantined_records")
    op.drop_table("quarantined_records")
    op.drop_table("organizations")
    op.drop_index(op.f("members_user_id_joined_at_idx"), table_name="members")
    op.drop_table("members")
    op.drop_table("deleted_calls")
    op.drop_table("daily_call_deltas")
    op.drop_table("daily_call_counts")
    op.drop_index(
        "calls_newest_of_phone_number_idx",
        table_name="calls",
        postgresql_where=sa.text("phone_number_id IS NOT NULL"),
    )
    op.drop_index("calls_newest_idx", table_name="calls")
    op.drop_table("calls")
    op.drop_table("call_events")
    op.drop_table("api_keys")

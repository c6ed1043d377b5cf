"""webhooks: the outbox knows what changed, and messages about it wait for their endpoints

The outbox now also has what each call was before its change, so that the publisher can tell what happened."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# Of a changed or deleted call, the row as it was says enough: its key is the same.
CALLS_CHANGED = """
CREATE OR REPLACE FUNCTION callfold_calls_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM public.publisher) AND EXISTS (SELECT FROM changed) THEN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO public.call_changes (organization_ids, call_ids)
            SELECT array_agg(organization_id), array_agg(id) FROM changed;
        ELSE
            INSERT INTO public.call_changes (organization_ids, call_ids, revisions_before, marks_before)
            SELECT array_agg(organization_id), array_agg(id), array_agg(revision), array_agg((
                CASE status
                    WHEN 'initiated' THEN 1 WHEN 'ringing' THEN 2 WHEN 'in_progress' THEN 3
                    WHEN 'completed' THEN 4 WHEN 'failed' THEN 5 WHEN 'busy' THEN 6
                    WHEN 'no_answer' THEN 7 WHEN 'canceled' THEN 8 ELSE 0
                END
                + CASE WHEN livemode THEN 16 ELSE 0 END
                + CASE WHEN answered_at IS NOT NULL THEN 32 ELSE 0 END
                + CASE WHEN recording_url <> '' THEN 64 ELSE 0 END
                + CASE WHEN transcript <> '' THEN 128 ELSE 0 END
            )\\:\\:smallint)
            FROM changed;
        END IF;
        NOTIFY callfold_changes;
    END IF;
    RETURN NULL;
END
$$
"""

KEYS_ONLY = """
CREATE OR REPLACE FUNCTION callfold_calls_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM public.publisher) AND EXISTS (SELECT FROM changed) THEN
        INSERT INTO public.call_changes (organization_ids, call_ids)
        SELECT array_agg(organization_id), array_agg(id) FROM changed;
        NOTIFY callfold_changes;
    END IF;
    RETURN NULL;
END
$$
"""

UPDATED = """
CREATE TRIGGER callfold_calls_updated AFTER UPDATE ON calls
REFERENCING {} TABLE AS changed
FOR EACH STATEMENT WHEN (current_setting('callfold.moves_days', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION callfold_calls_changed()
"""


def upgrade() -> None:
    op.add_column(
        "call_changes",
        sa.Column(
            "revisions_before", ARRAY(sa.Integer()), comment="before the change; null: the calls are new"
        ),
    )
    op.add_column(
        "call_changes",
        sa.Column(
            "marks_before",
            ARRAY(sa.SmallInteger()),
            comment="number of the status, +16 live, +32 answered, +64 recording, +128 transcript",
        ),
    )
    for column in ("revisions_before", "marks_before"):
        op.execute(f"ALTER TABLE call_changes ALTER COLUMN {column} SET STORAGE EXTERNAL")
    # A transaction may begin before another one changes the same call first.
    op.alter_column("call_changes", "written_at", server_default=sa.func.clock_timestamp())
    op.execute("DROP TRIGGER callfold_calls_updated ON calls")
    op.execute(CALLS_CHANGED)
    op.execute(UPDATED.format("OLD"))
    op.alter_column(
        "api_keys", "scopes", server_default="{calls:read,calls:write,analytics:read,webhooks:write}"
    )
    _create_webhooks()
    _create_messages()
    _create_deliveries()


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("types", ARRAY(sa.Text()), nullable=False, comment="of messages that it gets; empty: all"),
        sa.Column("secrets", sa.LargeBinary(), nullable=False, comment="encrypted JSON (Fernet)"),
        sa.Column(
            "previous_secret_until",
            sa.DateTime(timezone=True),
            comment="messages have a second signature by the previous secret before this time",
        ),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("disabled_reason", sa.Text(), comment="why callfold disabled it; null: a client did"),
        sa.Column(
            "failing_since",
            sa.DateTime(timezone=True),
            comment="the first failure after the last success; null: none",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("sender", sa.Uuid(), comment="the process that sends to it; null: none"),
        sa.Column("sends_until", sa.DateTime(timezone=True), comment="unless it renews its lease"),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("webhooks_pkey")),
        postgresql_with={"fillfactor": "50"},
    )


def _create_messages() -> None:
    op.create_table(
        "webhook_messages",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column(
            "id", sa.Text(), nullable=False, comment="derived from the call, its revision and the type"
        ),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Uuid(), comment="null: a test"),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="JSON, as it is sent"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("webhook_messages_pkey")),
    )
    op.create_index(
        op.f("webhook_messages_organization_id_call_id_idx"),
        "webhook_messages",
        ["organization_id", "call_id"],
        postgresql_where=sa.text("call_id IS NOT NULL"),
    )
    op.create_index(op.f("webhook_messages_created_at_idx"), "webhook_messages", ["created_at"])


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            comment="when it is sent next; null: it was delivered or given up",
        ),
        sa.Column("attempts", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("attempted_at", sa.DateTime(timezone=True), comment="the last attempt"),
        sa.Column("delivered_at", sa.DateTime(timezone=True), comment="null: not delivered"),
        sa.Column("answer_status", sa.SmallInteger(), comment="of the last attempt; null: no answer"),
        sa.Column("answer_body", sa.Text(), comment="of the last attempt, its first 1 KiB"),
        sa.Column("error", sa.Text(), comment="why the last attempt failed; null: it did not"),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("webhook_deliveries_pkey")),
        sa.ForeignKeyConstraint(
            ["organization_id", "webhook_id"],
            ["webhooks.organization_id", "webhooks.id"],
            ondelete="CASCADE",
            name=op.f("webhook_deliveries_organization_id_webhook_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "message_id"],
            ["webhook_messages.organization_id", "webhook_messages.id"],
            ondelete="CASCADE",
            name=op.f("webhook_deliveries_organization_id_message_id_fkey"),
        ),
        sa.UniqueConstraint(
            "organization_id",
            "message_id",
            "webhook_id",
            name=op.f("webhook_deliveries_organization_id_message_id_webhook_id_key"),
        ),
        postgresql_with={"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_index(
        "webhook_deliveries_due_idx",
        "webhook_deliveries",
        ["organization_id", "webhook_id", "due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        op.f("webhook_deliveries_organization_id_webhook_id_id_idx"),
        "webhook_deliveries",
        ["organization_id", "webhook_id", "id"],
    )


def downgrade() -> None:
    for table in ("webhook_deliveries", "webhook_messages", "webhooks"):
        op.drop_table(table)
    op.alter_column("api_keys", "scopes", server_default="{calls:read,calls:write,analytics:read}")
    op.alter_column("call_changes", "written_at", server_default=sa.func.now())
    op.execute("DROP TRIGGER callfold_calls_updated ON calls")
    op.execute(KEYS_ONLY)
    op.execute(UPDATED.format("NEW"))
    for column in ("marks_before", "revisions_before"):
        op.drop_column("call_changes", column)

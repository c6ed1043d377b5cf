"""changes out: the outbox of changed calls, and its publisher

A trigger writes the outbox, so that no path that changes a call can leave it out, in any version. It writes
nothing before the first publisher has started."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

CALLS_CHANGED = """
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

# A change of a time zone moves all calls of an organization to other days, which no reader of a call sees.
TRIGGERS = (
    """
CREATE TRIGGER callfold_calls_inserted AFTER INSERT ON calls
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION callfold_calls_changed()
""",
    """
CREATE TRIGGER callfold_calls_updated AFTER UPDATE ON calls
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT WHEN (current_setting('callfold.moves_days', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION callfold_calls_changed()
""",
    """
CREATE TRIGGER callfold_calls_deleted AFTER DELETE ON calls
REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION callfold_calls_changed()
""",
)


def upgrade() -> None:
    op.create_table(
        "call_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("organization_ids", ARRAY(sa.Uuid()), nullable=False, comment="of the changed calls"),
        sa.Column("call_ids", ARRAY(sa.Uuid()), nullable=False, comment="in the same order"),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name=op.f("call_changes_pkey")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0",
            "autovacuum_vacuum_insert_threshold": "-1",
            "autovacuum_vacuum_cost_delay": "0",
            "autovacuum_vacuum_threshold": "1000",
        },
    )
    for column in ("organization_ids", "call_ids"):
        op.execute(f"ALTER TABLE call_changes ALTER COLUMN {column} SET STORAGE EXTERNAL")
    op.create_table(
        "publisher",
        sa.Column("singleton", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("leader", sa.Uuid(), comment="the process that publishes; null: none"),
        sa.Column("leads_until", sa.DateTime(timezone=True), comment="unless it renews its lease"),
        sa.Column(
            "complete_from",
            sa.BigInteger(),
            comment="the transaction from which on the outbox has every change; null: not yet known",
        ),
        sa.Column(
            "all_after_organization",
            sa.Uuid(),
            comment="how far the present state of all calls was published; null: it is not being published",
        ),
        sa.Column("all_after_call", sa.Uuid()),
        sa.PrimaryKeyConstraint("singleton", name=op.f("publisher_pkey")),
        sa.CheckConstraint("singleton", name=op.f("publisher_singleton_check")),
    )
    op.execute(CALLS_CHANGED)
    op.execute("REVOKE ALL ON FUNCTION callfold_calls_changed FROM PUBLIC")
    for trigger in TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    for name in ("inserted", "updated", "deleted"):
        op.execute(f"DROP TRIGGER callfold_calls_{name} ON calls")
    op.execute("DROP FUNCTION callfold_calls_changed")
    op.drop_table("publisher")
    op.drop_table("call_changes")

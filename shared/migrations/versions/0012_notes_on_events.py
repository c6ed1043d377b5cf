"""notes on events"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    comment = "one sentence per field of the payload that was read otherwise than written, or left out"
    op.add_column("call_events", sa.Column("notes", sa.ARRAY(sa.Text()), comment=comment))
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS call_events_with_notes_idx")
        op.execute(
            "CREATE INDEX CONCURRENTLY call_events_with_notes_idx ON call_events "
            "(organization_id, call_id, id) WHERE notes IS NOT NULL"
        )


def downgrade() -> None:
    op.drop_index("call_events_with_notes_idx", table_name="call_events")
    op.drop_column("call_events", "notes")

"""the call of a quarantined record"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "quarantined_records",
        sa.Column(
            "organization_id", sa.Uuid(), comment="the organization that the record names, if it names one"
        ),
    )
    op.add_column(
        "quarantined_records",
        sa.Column(
            "call_id",
            sa.Uuid(),
            comment="the call that the record names, if it names one; the nil UUID where it names several",
        ),
    )
    op.add_column(
        "quarantined_records",
        sa.Column(
            "retained_from",
            sa.DateTime(timezone=True),
            comment="when its retention began; null: written by an older version, its call not yet read",
        ),
    )
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS quarantined_records_of_call_idx")
        op.execute(
            "CREATE INDEX CONCURRENTLY quarantined_records_of_call_idx ON quarantined_records "
            "(organization_id, call_id) WHERE organization_id IS NOT NULL"
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS quarantined_records_retained_from_idx")
        op.execute(
            "CREATE INDEX CONCURRENTLY quarantined_records_retained_from_idx ON quarantined_records "
            "(organization_id, retained_from)"
        )


def downgrade() -> None:
    op.drop_index("quarantined_records_retained_from_idx", table_name="quarantined_records")
    op.drop_index("quarantined_records_of_call_idx", table_name="quarantined_records")
    op.drop_column("quarantined_records", "retained_from")
    op.drop_column("quarantined_records", "call_id")
    op.drop_column("quarantined_records", "organization_id")

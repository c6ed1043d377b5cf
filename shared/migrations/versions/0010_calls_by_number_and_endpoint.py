"""calls by number and endpoint"""

from typing import Final

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INDEXED: Final = {
    "calls_newest_of_from_number_idx": ("from_number", "text_pattern_ops"),  # by how they begin, too
    "calls_newest_of_to_number_idx": ("to_number", "text_pattern_ops"),
    "calls_newest_of_endpoint_idx": ("endpoint_id", ""),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for index, (column, operators) in _INDEXED.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
            op.execute(
                f"CREATE INDEX CONCURRENTLY {index} ON calls "
                f"(organization_id, livemode, {column} {operators}, created_at DESC, id DESC) "
                f"WHERE {column} IS NOT NULL"
            )


def downgrade() -> None:
    for index in _INDEXED:
        op.drop_index(index, table_name="calls")

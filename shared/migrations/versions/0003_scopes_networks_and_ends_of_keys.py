"""scopes, networks and ends of keys"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_keys",
        sa.Column(
            "scopes",
            sa.ARRAY(sa.Text()),
            server_default="{calls:read,calls:write,analytics:read}",
            nullable=False,
            comment="what the key may do",
        ),
    )
    op.add_column(
        "api_keys",
        sa.Column("expires_at", sa.DateTime(timezone=True), comment="null: never"),
    )
    op.add_column(
        "api_keys",
        sa.Column(
            "allowed_networks",
            sa.ARRAY(postgresql.CIDR()),
            comment="from where it may be used; null: anywhere",
        ),
    )
    op.add_column(
        "api_keys",
        sa.Column("last_used_at", sa.DateTime(timezone=True), comment="up to a minute late"),
    )


def downgrade() -> None:
    for column in ("last_used_at", "allowed_networks", "expires_at", "scopes"):
        op.drop_column("api_keys", column)

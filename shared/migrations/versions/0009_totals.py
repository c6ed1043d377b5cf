"""totals"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "daily_call_totals",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False, comment="'unknown' where the call has none"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=False),
        sa.Column("cost_cents", sa.Numeric(precision=22, scale=4), nullable=False),
        sa.Column("latency_ms", sa.BigInteger(), nullable=False),
        sa.Column("latency_calls", sa.BigInteger(), nullable=False, comment="how many calls have a latency"),
        _added("effective", sa.BigInteger(), "calls that the network did its work for"),
        _added("durations", sa.Numeric(), "answered calls by seconds: a packed histogram"),
        _added("answer_delays", sa.Numeric(), "answered calls by milliseconds until the answer"),
        _added("latencies", sa.Numeric(), "calls with a latency by milliseconds"),
        _added("hangup_causes", sa.Numeric(), "ended calls by cause, packed"),
        _added("hour_calls", sa.Numeric(), "by the hour of the day, as all that follows"),
        _added("hour_answered", sa.Numeric(), "answered calls"),
        _added("hour_duration_seconds", sa.Numeric(), "20 digits an hour"),
        _added("hour_cost", sa.Numeric(), "ten thousandths of a cent, 24 digits an hour"),
        sa.PrimaryKeyConstraint(
            "organization_id", "livemode", "day", "direction", "status", name=op.f("daily_call_totals_pkey")
        ),
        postgresql_with={"fillfactor": "70", "toast_tuple_target": "8160"},
    )
    # Of the organizations that are there, the totals lack what was counted before; of new ones, nothing.
    comment = "false for one of before daily_call_totals, until a rebuild: read its counts"
    op.add_column(
        "organizations",
        sa.Column("has_totals", sa.Boolean(), server_default="false", nullable=False, comment=comment),
    )
    op.alter_column("organizations", "has_totals", server_default=sa.text("true"))


def _added(name: str, kind: sa.types.TypeEngine[Any], comment: str) -> sa.Column[object]:
    return sa.Column(name, kind, server_default="0", nullable=False, comment=comment)


def downgrade() -> None:
    op.drop_column("organizations", "has_totals")
    op.drop_table("daily_call_totals")

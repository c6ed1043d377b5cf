"""distributions and hours of pruned calls"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MEASURES: dict[str, tuple[sa.types.TypeEngine[Any], str]] = {
    "effective": (sa.BigInteger(), "calls that the network did its work for"),
    "durations": (sa.Numeric(), "answered calls by seconds: a packed histogram"),
    "answer_delays": (sa.Numeric(), "answered calls by milliseconds until the answer"),
    "latencies": (sa.Numeric(), "calls with a latency by milliseconds"),
    "hangup_causes": (sa.Numeric(), "ended calls by cause, packed"),
    "hour_calls": (sa.Numeric(), "by the hour of the day, as all that follows"),
    "hour_answered": (sa.Numeric(), "answered calls"),
    "hour_duration_seconds": (sa.Numeric(), "20 digits an hour"),
    "hour_cost": (sa.Numeric(), "ten thousandths of a cent, 24 digits an hour"),
}


def upgrade() -> None:
    op.execute("ALTER TABLE pruned_call_counts SET (toast_tuple_target = 8160)")
    for name, (kind, comment) in MEASURES.items():
        op.add_column(
            "pruned_call_counts", sa.Column(name, kind, server_default="0", nullable=False, comment=comment)
        )


def downgrade() -> None:
    for name in MEASURES:
        op.drop_column("pruned_call_counts", name)
    op.execute("ALTER TABLE pruned_call_counts RESET (toast_tuple_target)")

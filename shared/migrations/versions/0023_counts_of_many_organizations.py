"""counts of many organizations: their versions cost as much per delta as those of few

PostgreSQL plans the statement in the trigger once, for the first deltas that a session applies. For few of
them it joins days and versions by a nested loop, which was then quadratic in the number of organizations."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER FUNCTION callfold_deltas_applied() SET enable_nestloop = off")


def downgrade() -> None:
    op.execute("ALTER FUNCTION callfold_deltas_applied() RESET enable_nestloop")

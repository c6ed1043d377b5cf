"""stored payloads

Newer processes store payloads without what the other columns say. The function returns them verbatim, and
payloads of older processes as they are."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# A plain expression, so that PostgreSQL inlines it.
PAYLOAD = r"""
CREATE OR REPLACE FUNCTION callfold_payload(
    payload text, type text, organization_id uuid, call_id uuid
) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT replace(replace(replace(replace(payload,
        E'\x01', ',"type":"' || type || '","organization_id":"' || organization_id
            || '","call_id":"' || call_id || '","timestamp":"'),
        E'\x02', '","livemode"\:true,"data":'),
        E'\x03', ', "type": "' || type || '", "organization_id": "' || organization_id
            || '", "call_id": "' || call_id || '", "timestamp": "'),
        E'\x04', '", "livemode": true, "data": ')
$$
"""

STORED = (
    "the record's value without what other columns say; verbatim: "
    "callfold_payload(payload, type, organization_id, call_id)"
)
VERBATIM = "the record's value, verbatim"


def upgrade() -> None:
    op.execute(PAYLOAD)
    op.alter_column("call_events", "payload", comment=STORED, existing_comment=VERBATIM)


def downgrade() -> None:
    op.alter_column("call_events", "payload", comment=VERBATIM, existing_comment=STORED)
    op.execute("UPDATE call_events SET payload = callfold_payload(payload, type, organization_id, call_id)")
    op.execute("DROP FUNCTION callfold_payload")

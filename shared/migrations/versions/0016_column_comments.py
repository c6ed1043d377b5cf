"""column comments in plain words"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COUNTED = ("daily_call_counts", "daily_call_deltas", "daily_call_totals", "pruned_call_counts")
MEASURES = {
    "direction": "'unknown' if the call has none",
    "phone_number_id": "the nil UUID if the call has none",
    "latency_calls": "calls with a latency",
    "effective": "calls that the network completed correctly (NER)",
    "latencies": "calls with a latency, by milliseconds",
    "hour_calls": "calls by the hour of the day, packed like the following columns",
    "hour_duration_seconds": "20 digits per hour",
    "hour_cost": "ten thousandths of a cent, 24 digits per hour",
}
COMMENTS = {
    ("api_keys", "key_hash"): "SHA-256 of the key; the key itself is not stored",
    ("api_keys", "hint"): "the first and last characters of the key",
    ("api_keys", "allowed_networks"): "networks that the key may be used from; null: any",
    ("audit_log", "organization_id"): "the nil UUID if there is no organization",
    ("audit_log", "actor"): "the id of an API key, an operator, or a service",
    ("audit_log", "subject"): "the id of the row that the action changed",
    ("call_events", "payload"): "the record's value, verbatim",
    ("call_events", "notes"): "one sentence per field of the payload that was read differently or left out",
    ("calls", "external_id"): "the source's call id, unless it is a UUID",
    ("calls", "day"): "the day of created_at in the organization's time zone",
    ("calls", "hour"): "hours from the start of that day: 0 to 24; null: counted in no hour",
    ("calls", "version"): "number of events that the call is folded from",
    ("calls", "revision"): "raised by each rewrite of the row; a writer must have read the current one",
    ("calls", "laws"): "version of the fold's laws that made this row",
    ("organizations", "retention_days"): "days that calls are kept; null: forever",
    ("organizations", "has_totals"): "false until a rebuild for organizations older than daily_call_totals",
    ("organizations", "plan"): "a plan of CALLFOLD_PLANS",
    ("organizations", "zone_rules"): "the time-zone rules that placed its calls; null: unknown",
    ("partitions_read", "partitions"): "number of partitions of the topic",
    ("partitions_read", "read_until"): "every record published before this moment is stored",
    ("quarantined_records", "id"): "derived from the record, so that redelivery adds no second row",
    ("quarantined_records", "organization_id"): "the organization that the record names, if any",
    (
        "quarantined_records",
        "call_id",
    ): "the call that the record names, if any; the nil UUID for several calls",
    (
        "quarantined_records",
        "retained_from",
    ): "start of its retention; null: written by an older version whose call is not yet read",
    ("silent_calls", "version"): "the call's version at that moment",
    ("silent_calls", "seen_at"): "first moment at which the call was silent at this version",
}


def upgrade() -> None:
    for table in COUNTED:
        for column, comment in MEASURES.items():
            if (table, column) != ("daily_call_totals", "phone_number_id"):
                _comment(table, column, comment)
    for (table, column), comment in COMMENTS.items():
        _comment(table, column, comment)


def downgrade() -> None:
    """Comments stay: no older version reads them."""


def _comment(table: str, column: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{quoted}'")

"""The place of each table in a distributed database."""

from typing import Final

BY_ORGANIZATION: Final = (
    "calls",
    "call_events",
    "deleted_calls",
    "daily_call_deltas",
    "daily_call_counts",
    "daily_call_totals",
    "count_versions",
    "count_days",
    "pruned_call_counts",
    "silent_calls",
    "audit_log",
)
"""The tables whose rows are on the server of their organization. The first one is distributed
first, and the others like it."""
ON_EACH_SERVER: Final = (
    "alembic_version",
    "organizations",
    "api_keys",
    "members",
    "sources",
    "phone_numbers",
    "quarantined_records",
)
"""The tables that each server has whole: small, or without an organization in their key."""
ON_ONE_SERVER: Final = (
    ("webhooks", "webhook_messages", "webhook_deliveries"),
    ("source_calls",),
    ("partitions_read",),
    ("proofs",),
)
"""The tables that one server has whole, each group together. All servers can use them."""
OF_EACH_SERVER: Final = ("publisher", "call_changes")
"""The tables of the outbox. Each server has its own, with the changes of its own shards."""

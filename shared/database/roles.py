"""The services' roles in PostgreSQL: what each may do, and the walls between organizations.

Every table with rows of organizations has row-level security. A client connected as `callfold_api` sees and
changes only rows of the organization that its transaction has set. Outside a transaction it sees no row. This
holds even for statements that lack the condition. The other roles work for all organizations.
"""

import textwrap
from collections.abc import Mapping
from typing import Final, NamedTuple

from shared.database.tables import metadata

INGEST: Final = "callfold_ingest"
RECEIVER: Final = "callfold_receiver"
AGGREGATOR: Final = "callfold_aggregator"
API: Final = "callfold_api"
PUBLISHER: Final = "callfold_publisher"
WEBHOOKS: Final = "callfold_webhooks"
OPERATOR: Final = "callfold_operator"
ROLES: Final = (INGEST, RECEIVER, AGGREGATOR, API, PUBLISHER, WEBHOOKS, OPERATOR)

WALLED: Final = (API, RECEIVER)
"""The roles that row-level security applies to."""

RIGHTS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    INGEST: (
        ("SELECT", "alembic_version, deleted_calls, phone_numbers, sources"),
        ("SELECT, INSERT", "organizations, call_events, source_calls"),
        ("SELECT, INSERT, UPDATE, DELETE", "quarantined_records"),  # waiting deliveries are retried
        ("SELECT, INSERT, UPDATE", "calls, partitions_read"),
        ("DELETE", "call_events"),  # a generated end is deleted when it is overruled
        ("INSERT", "daily_call_deltas"),
    ),
    RECEIVER: (("SELECT", "alembic_version, sources"),),
    AGGREGATOR: (
        ("SELECT", "alembic_version, organizations, deleted_calls, partitions_read"),
        ("SELECT (topic), SELECT (enabled)", "sources"),
        ("SELECT, INSERT, UPDATE", "daily_call_counts, daily_call_totals"),
        (
            "SELECT, INSERT, UPDATE, DELETE",
            "calls, call_events, daily_call_deltas, pruned_call_counts, quarantined_records, silent_calls, "
            "source_calls",
        ),
        ("UPDATE (id)", "organizations"),  # a row is locked while its calls are pruned
        ("SELECT (organization_id), SELECT (call_id), DELETE", "webhook_messages"),
        ("INSERT", "audit_log"),
    ),
    API: (
        ("SELECT", "alembic_version, count_days, daily_call_counts, daily_call_totals, pruned_call_counts"),
        ("SELECT (id), SELECT (has_totals)", "organizations"),
        ("SELECT, INSERT", "daily_call_deltas, deleted_calls"),
        ("SELECT, UPDATE, DELETE", "calls"),
        ("SELECT, DELETE", "call_events"),
        ("SELECT (organization_id), SELECT (call_id), DELETE", "quarantined_records"),
        ("SELECT (organization_id), SELECT (call_id), DELETE", "source_calls"),
        ("SELECT, INSERT, UPDATE, DELETE", "webhooks"),
        ("SELECT, INSERT, DELETE", "webhook_messages"),
        ("SELECT, INSERT, UPDATE", "webhook_deliveries"),
        ("INSERT", "audit_log"),
    ),
    PUBLISHER: (
        ("SELECT", "alembic_version, calls"),
        ("SELECT, UPDATE (id), DELETE", "call_changes"),  # rows are locked while their messages are stored
        ("SELECT, INSERT, UPDATE", "publisher"),
        (
            "SELECT (organization_id), SELECT (id), SELECT (livemode), SELECT (types), SELECT (enabled)",
            "webhooks",
        ),
        ("UPDATE (id)", "webhooks"),  # a row is locked while deliveries for it are stored
        ("SELECT, INSERT, DELETE", "webhook_messages"),
        ("SELECT, INSERT", "webhook_deliveries"),
    ),
    WEBHOOKS: (
        ("SELECT", "alembic_version"),
        ("SELECT, UPDATE", "webhooks, webhook_deliveries"),
        ("SELECT, UPDATE (id), DELETE", "webhook_messages"),  # rows are locked before they are removed
        ("INSERT", "audit_log"),
    ),
    OPERATOR: (
        ("SELECT", "alembic_version, partitions_read"),
        ("SELECT, UPDATE, DELETE", "publisher"),
        ("SELECT, DELETE", "call_changes"),
        ("SELECT, INSERT, DELETE", "members, deleted_calls"),
        (
            "SELECT, INSERT, UPDATE, DELETE",
            "organizations, api_keys, calls, call_events, count_days, count_versions, daily_call_counts, "
            "daily_call_totals, daily_call_deltas, phone_numbers, proofs, pruned_call_counts, "
            "quarantined_records, silent_calls, source_calls, sources, webhooks, webhook_messages, "
            "webhook_deliveries",
        ),
        ("SELECT, INSERT", "audit_log"),  # append-only
    ),
}
"""The privileges of each role on each table. A role has no others."""

FUNCTION_RIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    INGEST: ("callfold_zone_rules()",),
    AGGREGATOR: ("callfold_zone_rules()",),
    # The first four find credentials, and the state of the counts, before the organization is known.
    API: (
        "callfold_key(bytea)",
        "callfold_member(uuid,uuid)",
        "callfold_keys_used(uuid[],timestamp with time zone[])",
        "callfold_counts_state(uuid)",
        "callfold_zone_rules()",
    ),
    OPERATOR: ("callfold_counts_repaired(uuid)", "callfold_zone_rules()"),
}
"""The functions that a role may call, by name and types of arguments."""


class Policy(NamedTuple):
    """The rows of a table that roles can see. `condition` is in PostgreSQL's own notation."""

    name: str
    table: str
    roles: tuple[str, ...]
    condition: str


_ASKED: Final = (
    "( SELECT (NULLIF(current_setting('callfold.organization'::text, true), ''::text))::uuid AS \"nullif\")"
)
"""The transaction's organization. In a session that has set one before, the setting is an empty text outside
a transaction. As a subquery it is evaluated once per statement; as a plain expression, for each row of a
UNION's parts."""

_ASKED_PER_ROW: Final = "(NULLIF(current_setting('callfold.organization'::text, true), ''::text))::uuid"
"""The same for a distributed database: Citus allows no subquery in a policy."""


def policies(*, distributed: bool = False) -> tuple[Policy, ...]:
    """Two policies for each table with rows of organizations."""
    found = []
    asked = _ASKED_PER_ROW if distributed else _ASKED
    for table, owner in tenant_tables().items():
        found += [
            Policy("callfold_own_rows", table, (API,), f"({owner} = {asked})"),
            Policy("callfold_all_rows", table, (INGEST, AGGREGATOR, PUBLISHER, WEBHOOKS, OPERATOR), "(true)"),
        ]
    return tuple(found)


def tenant_tables() -> dict[str, str]:
    """The tables with rows of organizations, each with the column of the organization's id."""
    owners = {name: "id" if name == "organizations" else "organization_id" for name in metadata.tables}
    return {name: owner for name, owner in owners.items() if owner in metadata.tables[name].columns}


def all_tables() -> tuple[str, ...]:
    """Every table, including that of the migration step."""
    return (*metadata.tables, "alembic_version")


def rights() -> frozenset[tuple[str, str, str]]:
    """Each privilege: the role, the table and the privilege's name."""
    return frozenset(
        (role, table, right)
        for role, grants in RIGHTS.items()
        for each, tables in grants
        for table in tables.split(", ")
        for right in each.split(", ")
    )


def create_role(role: str) -> str:
    """The statement that makes it."""
    # COPY FROM, which stores calls, does not support row-level security.
    return f"CREATE ROLE {role} LOGIN{'' if role in WALLED else ' BYPASSRLS'}"


def create_policy(policy: Policy) -> str:
    """The statement that makes it."""
    roles = ", ".join(policy.roles)
    return f"CREATE POLICY {policy.name} ON {policy.table} TO {roles}\n    USING {policy.condition}"


def alter_policy(policy: Policy) -> str:
    """The statement that gives it this condition."""
    return f"ALTER POLICY {policy.name} ON {policy.table} USING {policy.condition}"


def by_hand() -> str:
    """All statements for a database without these roles, privileges and policies."""
    blocks = [
        [
            create_role(role),
            *(f"GRANT {rights} ON {_wrapped(tables)} TO {role}" for rights, tables in RIGHTS[role]),
            *(f"GRANT EXECUTE ON FUNCTION {each} TO {role}" for each in FUNCTION_RIGHTS.get(role, ())),
        ]
        for role in ROLES
    ]
    of_table = policies()
    blocks += [
        [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            *(create_policy(policy) for policy in of_table if policy.table == table),
        ]
        for table in tenant_tables()
    ]
    return "\n\n".join("\n".join(f"{statement};" for statement in block) for block in blocks if block)


def _wrapped(tables: str) -> str:
    return textwrap.fill(tables, 80, subsequent_indent="    ")

"""docs/reference/roles-and-rights.md: the roles in PostgreSQL, from shared/database/roles.py."""

from typing import Final

from services.ops.reference.markdown import page, table
from shared.database.roles import (
    API,
    FUNCTION_RIGHTS,
    ROLES,
    all_tables,
    by_hand,
    create_role,
    rights,
    tenant_tables,
)

_OPENING: Final = """
# Roles and rights

*Generated from shared/database/roles.py by `python -m services.ops.reference`.*

`callfold migrate --roles` creates these roles in PostgreSQL and grants them these rights. It revokes all
others on callfold's tables. [Separate roles](../how-to/separate-roles.md) explains how to use them.
"""

_TABLES: Final = """
## Tables

A right with columns in parentheses is limited to these columns. At a replica, the API uses only its SELECT
rights.
"""

_FUNCTIONS_OPENING: Final = """
## Functions

Some roles have EXECUTE on these functions, which run with their owner's rights. So the API finds credentials
before it knows their organization.
"""

_BY_HAND: Final = """
## By hand

In a database whose tables are at the newest step, these statements do the same as `callfold migrate --roles`.
A test runs them and compares the results.
"""

USES: Final = {
    "callfold_ingest": "ingest",
    "callfold_receiver": "the receiver",
    "callfold_aggregator": "the aggregator",
    "callfold_api": "the API",
    "callfold_publisher": "the publisher",
    "callfold_webhooks": "webhooks",
    "callfold_operator": "`callfold` commands",
}
"""Who connects as each role."""

_FUNCTIONS: Final = {
    "callfold_key": "returns the unrevoked API key with this hash, and its organization's time zone and plan",
    "callfold_member": "returns an organization of this user, and its time zone and plan",
    "callfold_keys_used": "stores when these keys were last used",
    "callfold_counts_state": "returns the state of an organization's counts: equal states mean equal counts",
    "callfold_counts_repaired": "marks all counts of an organization as changed",
    "callfold_zone_rules": "returns the number of organizations for each time zone and its rules",
}
_ORDER: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_NONE: Final = "none"


def page_of_roles() -> str:
    """The page, in Markdown."""
    return page(
        _OPENING,
        "## Roles",
        table(
            ("role", "used by", "row-level security"),
            [(f"`{role}`", USES[role], _security(role)) for role in ROLES],
        ),
        _TABLES,
        table(
            ("table", *(f"`{role}`" for role in ROLES)),
            [(f"`{name}`", *(_rights_on(name, role) for role in ROLES)) for name in all_tables()],
        ),
        _FUNCTIONS_OPENING,
        table(
            ("function", "what it does", "roles"),
            [(f"`{each}`", _FUNCTIONS[each.partition("(")[0]], _roles_of(each)) for each in _functions()],
        ),
        "## Policies",
        _policies(),
        _BY_HAND,
        f"```sql\n{by_hand()}\n```",
    )


def _security(role: str) -> str:
    return "bypasses it (`BYPASSRLS`)" if "BYPASSRLS" in create_role(role) else "applies"


def _rights_on(name: str, role: str) -> str:
    granted = [right for of, table_name, right in rights() if (of, table_name) == (role, name)]
    return ", ".join(sorted(granted, key=lambda right: (_ORDER.index(right.split()[0]), right))) or _NONE


def _functions() -> list[str]:
    return list(
        dict.fromkeys([*FUNCTION_RIGHTS[API], *(each for of in FUNCTION_RIGHTS.values() for each in of)])
    )


def _roles_of(function: str) -> str:
    return ", ".join(f"`{role}`" for role in ROLES if function in FUNCTION_RIGHTS.get(role, ()))


def _policies() -> str:
    walled = tenant_tables()
    others = " and ".join(f"`{name}`" for name in all_tables() if name not in walled)
    return (
        "Row-level security is enabled on every table with rows of organizations, which are all except "
        f"{others}. Each of these tables has two policies. `callfold_own_rows` shows `{API}` the rows of the "
        "organization in the setting `callfold.organization` of its transaction. `callfold_all_rows` shows "
        "ingest, the aggregator and commands all rows."
    )

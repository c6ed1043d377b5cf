"""The services' roles, which each test's database has."""

from typing import Final

from shared.database import roles

OWNER: Final = "postgres"


def as_role(database_url: str, role: str = roles.API) -> str:
    """A database of the tests, connected to as this role, which needs no password there."""
    return database_url.replace(f"//{OWNER}@", f"//{role}@")

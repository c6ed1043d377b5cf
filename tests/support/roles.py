"""The services' roles, which exist in each test's database."""

from typing import Final

from shared.database import roles

OWNER: Final = "postgres"


def as_role(database_url: str, role: str = roles.API) -> str:
    """The URL of a test's database for this role, which needs no password in tests."""
    return database_url.replace(f"//{OWNER}@", f"//{role}@")

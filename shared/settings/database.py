"""The settings of PostgreSQL."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from shared.settings.base import Settings
from shared.settings.checks import check_ascii
from shared.settings.database_url import check_url

Pooler = Literal["none", "transaction"]


class DatabaseSettings(Settings):
    database_url: Annotated[str, AfterValidator(check_url)] = Field(
        "postgresql://postgres@127.0.0.1:5432/callfold",
        repr=False,  # it may contain a password
        description="The database, as a libpq URL. PostgreSQL 15 or newer is required.",
    )
    database_connect_timeout_seconds: float = Field(
        10,
        gt=0,
        description="Seconds to wait for a new database connection. Raise it if the database is far away.",
    )
    database_pooler: Pooler = Field(
        "none",
        description="The pooler behind CALLFOLD_DATABASE_URL. Set it to transaction if the URL is that of "
        "PgBouncer in transaction mode.",
    )


class RolesSettings(Settings):
    """What `callfold migrate --roles` needs."""

    roles_password: Annotated[SecretStr, AfterValidator(check_ascii)] | None = Field(
        None,
        description="The password that callfold migrate --roles gives to the role of each service. Without "
        "it, the roles keep the passwords they have.",
    )

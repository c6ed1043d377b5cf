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
        repr=False,  # it may have a password in it
        description="PostgreSQL 15 or newer, as a libpq URL",
    )
    database_connect_timeout_seconds: float = Field(10, gt=0)
    database_pooler: Pooler = Field(
        "none",
        description="transaction: the URL is that of PgBouncer in transaction mode, where no session lasts",
    )


class RolesSettings(Settings):
    """What `callfold migrate --roles` needs."""

    roles_password: Annotated[SecretStr, AfterValidator(check_ascii)] | None = Field(
        None, description="the password of each service's role; without it, whatever each has stays"
    )

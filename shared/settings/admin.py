"""The settings of the admin API, which the API serves on its monitor port."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from shared.settings.base import PREFIX
from shared.settings.checks import check_admin_token
from shared.settings.database_url import check_url
from shared.settings.process import MonitorSettings


class AdminSettings(MonitorSettings):
    """The admin API for operators. Without a token, there is none."""

    admin_token: Annotated[SecretStr, AfterValidator(check_admin_token)] | None = Field(
        None,
        description="The token of the admin API, which the API then serves at /admin of its monitor port. "
        "Requires CALLFOLD_MONITOR_PORT and CALLFOLD_ADMIN_DATABASE_URL.",
    )
    admin_database_url: Annotated[str, AfterValidator(check_url)] | None = Field(
        None,
        repr=False,  # it may contain a password
        description="The database, as a libpq URL, for the admin API. Connect as the role callfold_operator.",
    )

    @model_validator(mode="after")
    def _has_its_port_and_database(self) -> Self:
        if self.admin_token is None:
            return self
        missing = [
            f"{PREFIX}{name.upper()}"
            for name in ("monitor_port", "admin_database_url")
            if getattr(self, name) is None
        ]
        if missing:
            raise ValueError(
                f"{PREFIX}ADMIN_TOKEN requires {' and '.join(missing)}: the admin API needs a port and a "
                "database."
            )
        return self

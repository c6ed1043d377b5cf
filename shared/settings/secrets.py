"""The setting of processes that read or store secrets."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from shared.secret_box import SecretBox
from shared.settings.base import Settings


def check_keys(value: SecretStr) -> SecretStr:
    """Raises ValueError for a key that is not valid."""
    SecretBox(_keys(value))
    return value


def _keys(value: SecretStr) -> list[str]:
    return [key.strip() for key in value.get_secret_value().split(",") if key.strip()]


class SecretsSettings(Settings):
    secrets_key: Annotated[SecretStr, AfterValidator(check_keys)] | None = Field(
        None,
        description="The key that encrypts the secrets of sources and webhooks: 32 bytes in URL-safe "
        "base64, as the command `callfold source new-key` prints it. Of several keys, separated by commas, "
        "the first encrypts and all decrypt.",
    )

    def secret_box(self) -> SecretBox:
        """The box for secrets."""
        return SecretBox(_keys(self.secrets_key) if self.secrets_key is not None else [])

"""The keys that encrypt secrets of sources: from the environment, or of an embedded stack."""

import os
from pathlib import Path
from typing import Final

from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from shared.secret_box import SecretBox, new_key
from shared.settings.secrets import SecretsSettings

FILE: Final = "secrets-key"


def secret_box(state_directory: Path | None) -> SecretBox:
    """The box of CALLFOLD_SECRETS_KEY, or of the stack in this directory. Raises Failure."""
    settings = settings_from_environment(SecretsSettings)
    if settings.secrets_key is None and state_directory is not None:
        return SecretBox([stack_key(state_directory)])
    return settings.secret_box()


def stack_key(state_directory: Path) -> str:
    """The key of an embedded stack, which is generated once. Only its user may read the file. Raises
    Failure."""
    file = state_directory / FILE
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise Failure(f"Cannot write {file}: {error.strerror}.") from None
    else:
        with os.fdopen(handle, "w") as created:
            created.write(new_key())
    try:
        return file.read_text().strip()
    except OSError as error:
        raise Failure(f"Cannot read {file}: {error.strerror}.") from None

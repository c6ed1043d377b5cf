"""Settings for a command: an invalid one becomes a Failure."""

from typing import TypeVar

from pydantic_settings import BaseSettings

from services.ops.terminal.failure import Failure
from shared.settings.base import InvalidSetting

_Settings = TypeVar("_Settings", bound=BaseSettings)


def settings_from_environment(of: type[_Settings]) -> _Settings:
    """These settings. Raises Failure, which names the invalid variable."""
    try:
        return of()
    except InvalidSetting as error:
        raise Failure(str(error)) from None

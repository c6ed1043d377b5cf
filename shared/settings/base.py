"""The base of every settings class: the prefix, and errors of one sentence."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "CALLFOLD_"

RENAMED: Final[Mapping[str, str]] = {}
"""The deprecated name of a setting, and its present name, both with the prefix. The deprecated name is read
while the present one is not set, and the process warns about it."""


class InvalidSetting(ValueError):
    """An invalid setting. The text is a sentence that names the setting and the rule."""


@contextmanager
def exit_when_invalid() -> Iterator[None]:
    """Wraps the reading of settings in a process that needs them. For an invalid one, it prints the sentence
    and exits."""
    try:
        yield
    except InvalidSetting as error:
        sys.exit(f"Error: {error}")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, allow_inf_nan=False, defer_build=True)

    def __init__(self, **values: Any) -> None:
        """Reads the environment. Raises InvalidSetting."""
        try:
            super().__init__(**{**self._by_deprecated_names(), **values})
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # settings that contradict each other
                raise InvalidSetting(str(first["ctx"]["error"])) from None
            name = str(first["loc"][0])
            # The value itself is not shown: a database URL may contain a password.
            rule = first.get("ctx", {}).get("error") or _rule(type(self).model_fields[name])
            raise InvalidSetting(f"{PREFIX}{name.upper()} must {rule}.") from None

    @classmethod
    def _by_deprecated_names(cls) -> dict[str, str]:
        """The values of fields that are set only by a name in `RENAMED`."""
        given = {name.upper(): value for name, value in os.environ.items()}
        return {
            field: given[deprecated]
            for deprecated, name in RENAMED.items()
            if (field := name.removeprefix(PREFIX).lower()) in cls.model_fields
            and deprecated in given
            and name not in given
        }


def _rule(field: FieldInfo) -> str:
    """The rule of a field, as the end of "must …"."""
    least = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    above = next((bound.gt for bound in field.metadata if isinstance(bound, Gt)), None)
    kind = _given(field.annotation)
    if kind is bool:
        return "be true or false"
    if kind is int:
        span = "" if least is None else f", {least} or more" if most is None else f" from {least} to {most}"
        return f"be a whole number{span}"
    if kind is float:
        if above is not None:
            return f"be a number greater than {above}"
        return "be a number" if most is None else f"be a number from {least} to {most}"
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return f"be {', '.join(choices[:-1])} or {choices[-1]}" if choices else "not be empty"


def _given(annotation: Any) -> Any:
    """The type of a value that is given: of `X | None`, it is X."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    return next(one for one in get_args(annotation) if one is not NoneType)

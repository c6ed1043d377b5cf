"""Extras: packages that only some installations have."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

Extra = Literal["embedded", "telemetry", "valkey"]

_INSTALLED_BY: Final[dict[Extra, str]] = {
    "embedded": "in a clone, `./callfold` has it, and so has `pip install '.[embedded]'`",
    "telemetry": "`pip install '.[telemetry]'` in a clone, an image built with LOCK=telemetry in containers",
    "valkey": "`pip install '.[valkey]'` in a clone",
}
_OWN_PACKAGES: Final = ("services", "shared")


@contextmanager
def needs_extra(extra: Extra, needed_by: str, refusal: type[Exception]) -> Iterator[None]:
    """Around imports of what an extra installs. Raises `refusal`, with a sentence that begins with
    `needed_by` and says how to install the extra."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in _OWN_PACKAGES:
            raise
        raise refusal(
            f"{needed_by} needs callfold's extra `{extra}`, which is no part of this installation (there is "
            f"no {missing.name} here): {_INSTALLED_BY[extra]}."
        ) from None

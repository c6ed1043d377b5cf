"""Extras: optional packages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

Extra = Literal["embedded", "telemetry", "valkey"]

_INSTALLED_BY: Final[dict[Extra, str]] = {
    "embedded": "in a clone, run `./callfold`, or install it with `pip install '.[embedded]'`",
    "telemetry": "install it with `pip install '.[telemetry]'` in a clone, or use an image built with "
    "LOCK=telemetry",
    "valkey": "install it with `pip install '.[valkey]'` in a clone",
}
_OWN_PACKAGES: Final = ("services", "shared")


@contextmanager
def needs_extra(extra: Extra, needed_by: str, refusal: type[Exception]) -> Iterator[None]:
    """Wraps imports of an extra's packages. Raises `refusal`, with a sentence that begins with `needed_by`
    and explains how to install the extra."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in _OWN_PACKAGES:
            raise
        raise refusal(
            f"{needed_by} needs callfold's extra `{extra}`, which is not installed (no module "
            f"{missing.name}): {_INSTALLED_BY[extra]}."
        ) from None

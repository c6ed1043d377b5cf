"""Directions: whether a call came to its organization or left it, by the settings of the source."""

from collections.abc import Mapping
from typing import Any, Final

from shared.calls.event import Direction
from shared.sources.source import Source

CONTEXTS: Final = "contexts"
OWN_NUMBERS: Final = "own_numbers"
_DIRECTIONS: Final[Mapping[Any, Direction]] = {"inbound": "inbound", "outbound": "outbound"}


def by_context(source: Source, context: str | None, usual: Mapping[str, Direction]) -> Direction | None:
    """The direction that the setting `contexts` gives a dialplan's context. `usual` replaces a setting that
    is not given."""
    contexts = source.settings.get(CONTEXTS)
    if not isinstance(contexts, dict):
        return usual.get(context or "")
    direction = contexts.get(context)
    return _DIRECTIONS.get(direction) if isinstance(direction, str) else None


def by_own_numbers(source: Source, from_number: str | None, to_number: str | None) -> Direction | None:
    """The direction between a number of the setting `own_numbers` and any other; None between two of them,
    and between two others."""
    own = source.settings.get(OWN_NUMBERS)
    if not isinstance(own, list | str) or from_number is None or to_number is None:
        return None
    if isinstance(own, str):
        own = own.split(",")
    from_own, to_own = from_number in own, to_number in own
    if from_own is to_own:
        return None
    return "outbound" if from_own else "inbound"

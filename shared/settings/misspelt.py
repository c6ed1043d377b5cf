"""Names of variables that are nearly those of settings."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from shared.settings.aggregator import AggregatorSettings
from shared.settings.api import ApiSettings
from shared.settings.base import PREFIX
from shared.settings.database import RolesSettings
from shared.settings.ingest import IngestSettings
from shared.settings.process import LogSettings

ALL_SETTINGS: Final = (LogSettings, IngestSettings, AggregatorSettings, ApiSettings, RolesSettings)
"""The classes that together have every setting."""


def misspelt(names: Iterable[str]) -> list[str]:
    """A sentence for each variable that is nearly named as a setting is: it would be passed over in silence.
    Others that begin with `CALLFOLD_` may be somebody's own."""
    known = {f"{PREFIX}{field.upper()}" for of in ALL_SETTINGS for field in of.model_fields}
    others = sorted(name for name in names if name.startswith(PREFIX) and name.upper() not in known)
    return [
        f"{name} is no setting, and does nothing: did you mean {near[0]}?"
        for name in others
        if (near := get_close_matches(name, known, n=1, cutoff=0.9))
    ]

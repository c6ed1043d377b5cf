"""Environment variables whose names are deprecated, or nearly those of settings."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from shared.settings.aggregator import AggregatorSettings
from shared.settings.api import ApiSettings
from shared.settings.base import PREFIX, RENAMED
from shared.settings.database import RolesSettings
from shared.settings.ingest import IngestSettings
from shared.settings.process import LogSettings
from shared.settings.publisher import PublisherSettings
from shared.settings.receiver import ReceiverSettings
from shared.settings.webhooks import WebhooksSettings

ALL_SETTINGS: Final = (
    LogSettings,
    IngestSettings,
    AggregatorSettings,
    ApiSettings,
    PublisherSettings,
    ReceiverSettings,
    RolesSettings,
    WebhooksSettings,
)
"""Together, these classes contain every setting."""


def deprecated(names: Iterable[str]) -> list[str]:
    """A sentence for each variable with a deprecated name of a setting."""
    return [
        f"{name} is deprecated: use {RENAMED[name.upper()]}."
        for name in sorted(names)
        if name.upper() in RENAMED
    ]


def misspelt(names: Iterable[str]) -> list[str]:
    """A sentence for each variable whose name is close to a setting's, and which would otherwise be ignored
    silently. Other names with the prefix `CALLFOLD_` may belong to other programs."""
    known = {f"{PREFIX}{field.upper()}" for of in ALL_SETTINGS for field in of.model_fields}
    read = known | set(RENAMED)
    others = sorted(name for name in names if name.startswith(PREFIX) and name.upper() not in read)
    return [
        f"{name} is not a setting and is ignored. Did you mean {near[0]}?"
        for name in others
        if (near := get_close_matches(name, known, n=1, cutoff=0.9))
    ]

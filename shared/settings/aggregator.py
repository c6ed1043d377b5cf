"""The settings of the aggregator."""

from typing import Literal

from pydantic import Field

from shared.settings.database import DatabaseSettings
from shared.settings.process import MonitorSettings


class AggregatorSettings(DatabaseSettings, MonitorSettings):
    topic: str = Field(
        "call-events", min_length=1, description="the topic by whose reading silent calls are judged"
    )
    aggregate_deltas: int = Field(20_000, ge=1, description="the most deltas applied in one statement")
    aggregate_rest_seconds: float = Field(
        0.25,
        gt=0,
        description="how long it rests after it applied some: a row of counts is written once for what comes "
        "meanwhile; no answer depends on it",
    )
    aggregate_interval_seconds: float = Field(1, gt=0, description="the longest wait between two looks")
    chores_interval_seconds: float = Field(
        300, gt=0, description="how long it rests between ending silent calls and applying retention"
    )
    silence_hours: float = Field(4, gt=0, description="silence after which a call that has no end gets one")
    prune_counts: Literal["keep", "drop"] = Field(
        "keep", description="whether what calls beyond retention were counted for stays counted"
    )

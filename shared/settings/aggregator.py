"""The settings of the aggregator."""

from typing import Literal

from pydantic import Field

from shared.settings.database import DatabaseSettings
from shared.settings.process import MonitorSettings


class AggregatorSettings(DatabaseSettings, MonitorSettings):
    topic: str = Field(
        "call-events",
        min_length=1,
        description="The Kafka topic whose read progress decides when a silent call may be ended. Set it to "
        "the topic that ingest reads.",
    )
    deliveries_topic: str = Field(
        "call-deliveries",
        min_length=1,
        description="The Kafka topic of deliveries, whose read progress also decides when a silent call may "
        "be ended. Set it to the topic that ingest reads.",
    )
    aggregate_deltas: int = Field(
        20_000,
        ge=1,
        description="The maximum number of deltas that one statement applies. Lower it if a statement holds "
        "its locks for too long.",
    )
    aggregate_rest_seconds: float = Field(
        0.25,
        gt=0,
        description="Seconds to pause after applying deltas. A longer pause writes each row of counts less "
        "often; no answer of the API depends on it.",
    )
    aggregate_interval_seconds: float = Field(
        1,
        gt=0,
        description="The maximum number of seconds between two checks for new deltas. The aggregator is also "
        "notified of new deltas, except through a pooler.",
    )
    chores_interval_seconds: float = Field(
        300,
        gt=0,
        description="Seconds to pause between two runs of the chores: ending silent calls and applying "
        "retention.",
    )
    silence_hours: float = Field(
        4,
        gt=0,
        description="Hours without an event after which a call without an end is ended as failed, with the "
        "cause MISSING_HANGUP. Raise it if real calls are silent for longer.",
    )
    prune_counts: Literal["keep", "drop"] = Field(
        "keep",
        description="Whether retention keeps the counts of the calls that it removes (keep) or removes "
        "them as well (drop).",
    )

"""The settings of ingest."""

from typing import Literal

from pydantic import Field

from shared.settings.database import DatabaseSettings
from shared.settings.kafka import KafkaSettings
from shared.settings.process import MonitorSettings, TelemetrySettings


class IngestSettings(DatabaseSettings, KafkaSettings, MonitorSettings, TelemetrySettings):
    consumer_group: str = Field("callfold-ingest", min_length=1)
    group_instance_id: str | None = Field(
        None,
        description="a name that stays with this process over restarts, so that its partitions wait for it; "
        "unique within the group",
    )
    session_timeout_seconds: float = Field(
        30, gt=0, description="silence after which the group takes this process for dead"
    )
    batch_records: int = Field(10_000, ge=1, le=100_000, description="the most records in one transaction")
    batch_linger_seconds: float = Field(
        0.02, gt=0, description="how long a poll waits for a first record, and a fruitless one for the next"
    )
    breaker_records: int = Field(
        1_000, ge=1, description="the window of the last records that is watched for bad ones"
    )
    breaker_share: float = Field(
        0.5, ge=0, le=1, description="ingest pauses when more than this share of them is bad; 1: never"
    )
    unknown_organizations: Literal["create", "quarantine"] = Field(
        "create",
        description="what to do with events of an organization that nobody created",
    )
    stop_timeout_seconds: float = Field(
        5,
        gt=0,
        description="how long a stop waits for the batch in hand; the whole of a stop takes up to 4 s more, "
        "and containers are killed after 10",
    )

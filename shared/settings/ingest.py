"""The settings of ingest."""

from typing import Literal

from pydantic import Field

from shared.settings.database import DatabaseSettings
from shared.settings.kafka import KafkaSettings
from shared.settings.process import MonitorSettings, TelemetrySettings
from shared.settings.secrets import SecretsSettings


class IngestSettings(DatabaseSettings, KafkaSettings, SecretsSettings, MonitorSettings, TelemetrySettings):
    consumer_group: str = Field(
        "callfold-ingest",
        min_length=1,
        description="The Kafka consumer group. Ingest processes with the same group share the topic's "
        "partitions.",
    )
    group_instance_id: str | None = Field(
        None,
        description="A name that this process keeps across restarts, so that it gets its partitions back "
        "without a rebalance. It must be unique within the group.",
    )
    session_timeout_seconds: float = Field(
        30,
        gt=0,
        description="Seconds without a heartbeat after which Kafka gives this process's partitions to "
        "others. With CALLFOLD_GROUP_INSTANCE_ID, a restart must be shorter.",
    )
    batch_records: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="The maximum number of records stored in one transaction. Lower it to use less memory.",
    )
    batch_linger_seconds: float = Field(
        0.02,
        gt=0,
        description="Seconds that a poll of Kafka waits for a first record, and that an empty poll waits for "
        "the next one.",
    )
    breaker_records: int = Field(
        1_000,
        ge=1,
        description="The number of most recent records in which ingest measures the share of invalid ones.",
    )
    breaker_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="The share of invalid records, from 0 to 1, above which ingest pauses. Set it to 1 to "
        "quarantine every invalid record and never pause.",
    )
    unknown_organizations: Literal["create", "quarantine"] = Field(
        "create",
        description="Whether ingest creates an organization that does not exist (create; unnamed, in UTC), "
        "or quarantines its events (quarantine).",
    )
    compact_payloads: bool = Field(
        True,
        description="Whether stored payloads leave out what the other columns of call_events say. Set it to "
        "false while processes of version 0.1.0 use the same tables: they cannot read such payloads.",
    )
    sources_interval_seconds: float = Field(
        5,
        gt=0,
        description="Seconds between two readings of the sources and phone numbers, and between two "
        "retries of deliveries that wait for their organization.",
    )
    stop_timeout_seconds: float = Field(
        5,
        gt=0,
        description="Seconds that a stop waits for the batch being stored. The whole stop takes up to 4 "
        "seconds more; keep the sum below the grace period after which a container is killed (Docker: 10).",
    )

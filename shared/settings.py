"""Settings, read from the environment with the prefix `CALLFOLD_`: a class for each thing configured."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="CALLFOLD_", frozen=True)


class LogSettings(_Settings):
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class DatabaseSettings(_Settings):
    database_url: str = Field(
        "postgresql://postgres@127.0.0.1:5432/callfold",
        description="PostgreSQL 15 or newer, as a libpq URL",
        pattern=r"^postgres(ql)?://",
    )
    database_connect_timeout_seconds: float = Field(10, gt=0)


class KafkaSettings(_Settings):
    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port, several separated by commas")
    topic: str = Field("call-events", min_length=1)


class IngestSettings(DatabaseSettings, KafkaSettings):
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
    unknown_organizations: str = Field(
        "create",
        pattern="^(create|quarantine)$",
        description="what to do with events of an organization that nobody created",
    )
    stop_timeout_seconds: float = Field(15, gt=0, description="how long a stop waits for the batch in hand")


class AggregatorSettings(DatabaseSettings):
    aggregate_deltas: int = Field(20_000, ge=1, description="the most deltas applied in one statement")
    aggregate_interval_seconds: float = Field(1, gt=0, description="the longest wait between two looks")


class ApiSettings(DatabaseSettings):
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65535)
    api_pool_connections: int = Field(10, ge=1)
    api_pool_wait_seconds: float = Field(2, gt=0, description="then a request is answered 503")
    api_statement_timeout_seconds: float = Field(10, gt=0)

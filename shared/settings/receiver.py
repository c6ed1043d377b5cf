"""The settings of the receiver."""

from pydantic import Field

from shared.settings.database import DatabaseSettings
from shared.settings.kafka import KafkaSettings
from shared.settings.process import MonitorSettings, TelemetrySettings
from shared.settings.secrets import SecretsSettings


class ReceiverSettings(DatabaseSettings, KafkaSettings, SecretsSettings, MonitorSettings, TelemetrySettings):
    receiver_host: str = Field(
        "127.0.0.1",
        description="The address on which the receiver listens. Set it to 0.0.0.0 in a container.",
    )
    receiver_port: int = Field(8010, ge=1, le=65535, description="The port on which the receiver listens.")
    receiver_connections: int = Field(
        1000,
        ge=1,
        description="The maximum number of client connections of one process. Further clients are answered "
        "503.",
    )
    receiver_keep_alive_seconds: int = Field(
        65,
        ge=1,
        description="Seconds after which an idle client connection is closed. Keep it longer than the idle "
        "timeout of the load balancer, often 60.",
    )
    receiver_client_seconds: float = Field(
        10,
        gt=0,
        description="Seconds that a client may take to send a request's head, or 256 KiB more of its body. "
        "Slower clients are disconnected.",
    )
    receiver_bodies_mib: int = Field(
        128,
        ge=16,
        description="Memory in MiB for bodies of requests that are not answered yet. Further requests are "
        "answered 503.",
    )
    receiver_waiting_requests: int = Field(
        1000,
        ge=1,
        description="The maximum number of requests that wait for Kafka. Further ones are answered 503.",
    )
    receiver_kafka_seconds: float = Field(
        5,
        gt=0,
        description="Seconds that a request waits until Kafka has stored it. After that it is answered 503.",
    )
    receiver_sources_seconds: float = Field(
        5,
        gt=0,
        description="Seconds between two readings of the sources. After this time, the receiver knows "
        "changes of sources.",
    )

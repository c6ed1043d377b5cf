"""The settings of the publisher."""

from pydantic import Field

from shared.settings.database import DatabaseSettings
from shared.settings.kafka import KafkaSettings
from shared.settings.process import MonitorSettings


class PublisherSettings(DatabaseSettings, KafkaSettings, MonitorSettings):
    publisher_lease_seconds: float = Field(
        10,
        gt=0,
        description="Seconds after which another publisher takes over from one that does not respond.",
    )
    publisher_interval_seconds: float = Field(
        1,
        gt=0,
        description="The maximum number of seconds between two checks for changes. The publisher is also "
        "notified of changes, except through a pooler.",
    )

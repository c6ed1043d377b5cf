"""The settings of webhooks: where messages may be sent, and the process that sends them."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from shared.settings.base import Settings
from shared.settings.checks import parse_networks
from shared.settings.database import DatabaseSettings
from shared.settings.process import MonitorSettings
from shared.settings.secrets import SecretsSettings


class WebhookTargetSettings(Settings):
    """The setting of processes that accept URLs of webhooks."""

    webhook_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(parse_networks)
    ] = Field(
        (),
        description="Networks that are not public, but may have endpoints of webhooks, such as 10.1.0.0/16, "
        "separated by commas. Endpoints there may also use http://. Without it, messages are sent to public "
        "addresses only, with TLS.",
    )


class WebhooksSettings(DatabaseSettings, SecretsSettings, WebhookTargetSettings, MonitorSettings):
    webhook_timeout_seconds: float = Field(
        10, gt=0, le=60, description="Seconds that an endpoint may take to answer a message."
    )
    webhook_connections: int = Field(
        400, ge=2, description="The maximum number of messages that one process sends at the same time."
    )
    webhook_connections_per_endpoint: int = Field(
        10,
        ge=1,
        description="The maximum number of messages that are sent to one endpoint at the same time. An "
        "endpoint that fails gets one at a time.",
    )
    webhook_retention_days: int = Field(
        7, ge=4, description="Days that messages and deliveries are kept. Attempts take up to four days."
    )
    webhook_waiting_deliveries: int = Field(
        1_000_000,
        ge=1,
        description="The maximum number of deliveries that may wait for one endpoint. An endpoint with more "
        "is disabled.",
    )
    webhook_lease_seconds: float = Field(
        30,
        gt=0,
        description="Seconds after which another process sends to the endpoints of one that does not "
        "respond.",
    )
    webhook_interval_seconds: float = Field(
        1,
        gt=0,
        description="The maximum number of seconds between two checks for due deliveries. The process is "
        "also notified of new ones, except through a pooler.",
    )

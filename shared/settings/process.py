"""The settings that every process has: its log, its monitor, its telemetry."""

from typing import Annotated, Literal

from pydantic import Field

from shared.settings.base import Settings
from shared.settings.checks import web_url


class LogSettings(Settings):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, JSON anywhere else"
    )


class MonitorSettings(Settings):
    """Metrics and health of a process, on a port of their own."""

    monitor_host: str = "127.0.0.1"
    monitor_port: int | None = Field(
        None, ge=1, le=65535, description="where /metrics and /health are; none unless it is set"
    )


class TelemetrySettings(Settings):
    """What needs the extra `telemetry`."""

    faststream_metrics: bool = Field(False, description="FastStream's own metrics beside callfold's")
    traces_url: Annotated[str, web_url("http://host:4318/v1/traces")] | None = Field(
        None,
        description="OTLP over HTTP, such as http://collector:4318/v1/traces; without it, no traces",
    )
    traces_ratio: float = Field(
        0.01, ge=0, le=1, description="share of the API's requests that are traced unless the client says so"
    )

"""Settings of every process: log, monitor and telemetry."""

from typing import Annotated, Literal

from pydantic import Field

from shared.settings.base import Settings
from shared.settings.checks import web_url


class LogSettings(Settings):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="The lowest level of log lines that are written. Use DEBUG to see a line for each "
        "stored batch.",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto",
        description="The format of log lines. With auto, lines are text on a terminal and JSON "
        "everywhere else.",
    )


class MonitorSettings(Settings):
    """Metrics and health of a process, on a port of their own."""

    monitor_host: str = Field(
        "127.0.0.1",
        description="The address on which the monitor port listens. Set it to 0.0.0.0 in a container.",
    )
    monitor_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="The port of /metrics, /health/live and /health/ready. Without it, the process serves "
        "none of them there.",
    )


class TelemetrySettings(Settings):
    """Settings that need the extra `telemetry`."""

    faststream_metrics: bool = Field(
        False,
        description="Whether ingest exports FastStream's own metrics in addition to those of callfold.",
    )
    traces_url: Annotated[str, web_url("http://host:4318/v1/traces")] | None = Field(
        None,
        description="The OTLP/HTTP endpoint that receives traces, such as http://collector:4318/v1/traces. "
        "Without it, no traces are sent. Requires the extra telemetry.",
    )
    traces_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The share of the API's requests that are traced, from 0 to 1. A sampling decision in "
        "the request's traceparent header takes precedence.",
    )

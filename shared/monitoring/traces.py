"""Traces: spans to a collector by OpenTelemetry where a setting names one; else nothing of it is imported."""

import logging
from threading import Thread
from typing import TYPE_CHECKING, Final

from shared.extras import needs_extra
from shared.settings.base import PREFIX, InvalidSetting
from shared.settings.process import TelemetrySettings

if TYPE_CHECKING:  # it comes with the extra `telemetry`
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger("callfold.traces")

FLUSH_SECONDS: Final = 1
"""How long a stop waits for the last spans to be sent."""


def start(settings: TelemetrySettings, service: str, *, root_ratio: float) -> "TracerProvider | None":
    """Where the service gets its tracers; None when no collector is set. A span with a parent is traced when
    that is; of the others, `root_ratio` is the share that are. Raises InvalidSetting without the extra."""
    if settings.traces_url is None:
        return None
    with needs_extra("telemetry", f"{PREFIX}TRACES_URL", InvalidSetting):
        from shared.monitoring.trace_export import tracer_provider
    return tracer_provider(settings.traces_url, service, root_ratio)


def stop(provider: "TracerProvider | None") -> None:
    """Sends the spans that wait, for a bounded time: a collector that is away must not hold up a stop."""
    if provider is None:
        return
    sending = Thread(target=provider.shutdown, name="traces-shutdown", daemon=True)
    sending.start()
    sending.join(FLUSH_SECONDS)
    if sending.is_alive():
        logger.warning("the last spans were not sent within %d s, and are dropped", FLUSH_SECONDS)

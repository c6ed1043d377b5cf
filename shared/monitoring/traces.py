"""Traces: spans sent to a collector by OpenTelemetry, if a setting names one. Otherwise OpenTelemetry is not
imported."""

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
"""How long a stop waits for the last spans."""


def start(settings: TelemetrySettings, service: str, *, root_ratio: float) -> "TracerProvider | None":
    """The service's provider of tracers; None if no collector is set. A span with a parent is traced if the
    parent is. `root_ratio` is the share of other spans that are traced. Raises InvalidSetting without the
    extra."""
    if settings.traces_url is None:
        return None
    with needs_extra("telemetry", f"{PREFIX}TRACES_URL", InvalidSetting):
        from shared.monitoring.trace_export import tracer_provider
    return tracer_provider(settings.traces_url, service, root_ratio)


def stop(provider: "TracerProvider | None") -> None:
    """Sends the waiting spans within a time limit: an unreachable collector must not delay a stop."""
    if provider is None:
        return
    sending = Thread(target=provider.shutdown, name="traces-shutdown", daemon=True)
    sending.start()
    sending.join(FLUSH_SECONDS)
    if sending.is_alive():
        logger.warning("dropped the last spans, which could not be sent within %d s", FLUSH_SECONDS)

"""`python -m services.receiver`: takes requests of sources until SIGTERM, Ctrl-C or a permanent fault."""

import contextlib
from typing import TYPE_CHECKING, Any, Final

import uvloop

from services.receiver.app import Receiver, route_of
from services.receiver.hooks import untraced
from shared.http.server import Limits, bounded
from shared.http.serving import Address, serve
from shared.monitoring import logs, traces
from shared.monitoring.monitor import monitored
from shared.settings.base import exit_when_invalid
from shared.settings.receiver import ReceiverSettings
from shared.sources.envelopes import BODY_BYTES_MAX

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

STOP_SECONDS: Final = 6
"""How long running requests may take after a stop. With closing the producer and sending spans, under
10 s."""


async def main(settings: ReceiverSettings, tracer_provider: "TracerProvider | None") -> None:
    """Runs one process. Exits with an error message if it cannot use the port. Raises a permanent fault."""
    sending = untraced
    if tracer_provider is not None:
        from services.receiver.traces import sending as traced

        sending = traced(tracer_provider, settings.deliveries_topic)
    receiver = Receiver(settings, sending=sending)
    served: Any = receiver.application()
    if tracer_provider is not None:
        from shared.http.traces import TracedApplication

        served = TracedApplication(served, tracer_provider, route_of)
    limits = Limits(
        settings.receiver_connections,
        settings.receiver_client_seconds,
        body_bytes=BODY_BYTES_MAX,
        body_is_read=True,
        server="receiver",
    )
    async with monitored(settings, receiver.metrics.registry, receiver.why_waiting):
        await serve(
            served,
            bounded(limits, receiver.metrics.rejected),
            Address(host=settings.receiver_host, port=settings.receiver_port, setting="RECEIVER_PORT"),
            keep_alive_seconds=settings.receiver_keep_alive_seconds,
            stop_seconds=STOP_SECONDS,
            stop=receiver.ended,
        )
    if receiver.fault is not None:
        raise receiver.fault


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("receiver")
        read = ReceiverSettings()
        provider = traces.start(read, "receiver", root_ratio=read.traces_ratio)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(read, provider))

"""`python -m services.ingest`: one ingest process, until a signal or a permanent fault."""

import gc
import logging
import sys
from typing import TYPE_CHECKING

import uvloop

from services.ingest.app import Ingest
from shared.kafka.client import KafkaRefusal
from shared.monitoring import logs, traces
from shared.monitoring.monitor import monitored
from shared.settings.base import exit_when_invalid
from shared.settings.ingest import IngestSettings
from shared.upstream import UpstreamChanged

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


async def main(settings: IngestSettings, tracer_provider: "TracerProvider | None") -> None:
    ingest = Ingest(settings, tracer_provider)
    async with monitored(settings, ingest.metrics.registry, ingest.why_waiting):
        await ingest.run()


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("ingest")
        read = IngestSettings()
        # Producers decide which records are traced. A batch with such a record is also traced.
        provider = traces.start(read, "ingest", root_ratio=1)
    # A batch consists of many small objects without cycles. At its default threshold, the garbage collector
    # would scan them over and over.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        uvloop.run(main(read, provider))
    except (KafkaRefusal, UpstreamChanged) as refusal:
        logging.getLogger("callfold.ingest").critical("ends: %s", refusal)
        sys.exit(1)
    finally:
        traces.stop(provider)

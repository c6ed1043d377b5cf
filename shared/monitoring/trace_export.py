"""Export of spans to the collector: OTLP over HTTP, in a thread of its own, from a bounded queue."""

import logging
import os
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from shared.outage import Outage

logger = logging.getLogger("callfold.traces")

QUEUE_SPANS_MAX: Final = 8192
REQUEST_SPANS_MAX: Final = 512
REQUEST_SECONDS: Final = 5
DELAY_SECONDS: Final = 1
TEXT_LENGTH_MAX: Final = 1024


def tracer_provider(url: str, service: str, root_ratio: float) -> TracerProvider:
    """A provider of tracers whose spans are sent to `url`. Its `shutdown` sends the waiting spans."""
    # Invalid headers of clients are not worth a log line each.
    logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(root_ratio)),
        resource=Resource.create(
            {
                "service.name": f"callfold-{service}",
                "service.version": version("callfold"),
                "host.name": socket.gethostname(),
                "process.pid": os.getpid(),
            }
        ),
        span_limits=SpanLimits(max_attribute_length=TEXT_LENGTH_MAX),
        shutdown_on_exit=False,  # `traces.stop` does it, with a time limit
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            _Exporter(url),
            max_queue_size=QUEUE_SPANS_MAX,
            max_export_batch_size=REQUEST_SPANS_MAX,
            schedule_delay_millis=DELAY_SECONDS * 1000,
        )
    )
    return provider


class _Exporter(trace_exporter.OTLPSpanExporter):
    """The library's exporter, which logs each failed request. This one logs the begin and the end of an
    outage."""

    def __init__(self, url: str) -> None:
        super().__init__(endpoint=url, timeout=REQUEST_SECONDS)
        host = urlsplit(url).netloc
        self._outage = Outage(
            logger,
            f"the collector at {host} does not accept spans; they are dropped until it does",
            f"the collector at {host} accepts spans again",
        )
        self._reason = ""
        logging.getLogger(trace_exporter.__name__).addFilter(self._keep_reason)
        # During an outage, the library's warnings of a full queue are dropped.
        logging.getLogger("opentelemetry.sdk._shared_internal").addFilter(lambda _: not self._outage.lasts)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the library's."""
        self._reason = ""
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self._outage.end()
        elif result is SpanExportResult.FAILURE:
            self._outage.begin(self._reason)
        return result

    def _keep_reason(self, record: logging.LogRecord) -> bool:
        self._reason = self._reason or record.getMessage()
        return False

"""Traces of ingest.

A producer marks a record for tracing with a sampled `traceparent` header. Such a record has a span in the
producer's own trace, from the reading of its batch to the commits. The batch has a trace of its own, which
shows where the time was spent; the records' spans link to it.

No span contains a header, number or text of an event.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

from aiokafka import ConsumerRecord as Record
from aiokafka import TopicPartition
from faststream import BaseMiddleware, ContextRepo
from faststream.kafka.opentelemetry import KafkaTelemetryMiddleware
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.ingest.arrivals import Arrival
from services.ingest.batch_trace import UNTRACED, BatchTrace
from shared.store.changes import Changes
from shared.store.quarantine import BadRecord

FOLLOWED_RECORDS_MAX: Final = 500
"""The most traced records per batch, so that producers cannot slow ingest down."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_FLAGS: Final = slice(54, 55)
_SAMPLED: Final = frozenset(b"%x" % flags for flags in range(1, 16, 2))
"""The header's last digit, which contains the sampled flag."""


class Traces:
    """Follows the records of one process."""

    def __init__(self, provider: TracerProvider, consumer_group: str) -> None:
        self._tracer = provider.get_tracer("callfold.ingest", version("callfold"))
        self._consumer_group = consumer_group
        self._of_batches = KafkaTelemetryMiddleware(
            tracer_provider=provider, meter_provider=NoOpMeterProvider()
        )

    def middleware(
        self, records: Sequence[Record] | None, /, *, context: ContextRepo
    ) -> BaseMiddleware[Any, Any]:
        """FastStream's own middleware, for a batch with a traced record: it creates the batch's span."""
        if any(record.headers and _producer(record) is not None for record in records or ()):
            return self._of_batches(records, context=context)
        return BaseMiddleware(records, context=context)

    def follow(self, records: Sequence[Record]) -> BatchTrace:
        """Starts the spans of a batch's records, within the batch's span."""
        batch = get_current_span()
        if not batch.is_recording():
            return UNTRACED
        link = Link(batch.get_span_context())
        spans: dict[int, tuple[Record, Span]] = {}
        left_out = 0
        for record in records:
            if not record.headers or record.value is None or (producer := _producer(record)) is None:
                continue
            if len(spans) == FOLLOWED_RECORDS_MAX:
                left_out += 1
                continue
            spans[id(record)] = (
                record,
                self._tracer.start_span(
                    f"process {record.topic}",
                    producer,
                    SpanKind.CONSUMER,
                    {
                        "messaging.system": "kafka",
                        "messaging.operation.name": "process",
                        "messaging.operation.type": "process",
                        "messaging.destination.name": record.topic,
                        "messaging.destination.partition.id": str(record.partition),
                        "messaging.kafka.offset": record.offset,
                        "messaging.consumer.group.name": self._consumer_group,
                    },
                    [link],
                ),
            )
        batch.set_attributes({"callfold.followed": len(spans), "callfold.followed.left_out": left_out})
        return _FollowedBatch(self._tracer, spans)


class _FollowedBatch(BatchTrace):
    """The spans of a batch, by the identity of their records."""

    def __init__(self, tracer: Tracer, spans: Mapping[int, tuple[Record, Span]]) -> None:
        self._tracer = tracer
        self._spans = spans
        self._stored: set[int] = set()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A span below the batch's. It records only the type of a fault, because the text may contain a row's
        content."""
        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as fault:
                _fail(span, type(fault).__name__, "")
                raise

    def stored(self, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord], changes: Changes) -> None:
        stored = set(map(id, changes.events))
        of_deleted_calls = set(map(id, changes.of_deleted_calls))
        conflicting = set(map(id, changes.conflicting))
        refused = {id(event): reason for event, reason in changes.refused}
        for record, event in arrivals:
            if id(record) not in self._spans:
                continue
            _, span = self._spans[id(record)]
            span.set_attributes(
                {
                    "callfold.organization_id": str(event.organization_id),
                    "callfold.call_id": str(event.call_id),
                    "callfold.event_type": event.type,
                }
            )
            if id(event) in refused:
                _fail(span, "quarantined", refused[id(event)])
                self._end_of_way(record, "quarantined")
            elif id(event) in stored:
                self._end_of_way(record, "stored")
            elif id(event) in of_deleted_calls:
                self._end_of_way(record, "deleted")
            else:
                self._end_of_way(record, "conflicting" if id(event) in conflicting else "duplicate")
        for bad in bad_records:
            if id(bad.record) in self._spans:
                _fail(self._spans[id(bad.record)][1], "quarantined", bad.rule or bad.reason)
                self._end_of_way(bad.record, "quarantined")

    def _end_of_way(self, record: Record, outcome: str) -> None:
        _, span = self._spans[id(record)]
        span.set_attribute("callfold.outcome", outcome)
        span.add_event("transaction committed")
        self._stored.add(id(record))

    def offsets_committed(self, partitions: Collection[TopicPartition]) -> None:
        for record, span in self._spans.values():
            if TopicPartition(record.topic, record.partition) in partitions:
                span.add_event("offsets committed")

    def end(self, fault: Exception | None = None) -> None:
        for key, (_, span) in self._spans.items():
            if key not in self._stored:
                _fail(span, type(fault).__name__ if fault else "stopped", "not stored; it will be read again")
            span.end()
        self._spans = {}


def _fail(span: Span, error_type: str, description: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR, description)


def _producer(record: Record) -> Context | None:
    """The span in which a record was published, if it is valid and sampled. The header may contain any
    bytes."""
    for name, value in record.headers:
        if name == "traceparent":
            # Producers that trace a share of records write the header into each: most return here.
            if value is None or value[_FLAGS] not in _SAMPLED:
                return None
            break
    else:
        return None
    given: dict[str, str] = {}
    for name, value in record.headers:
        if name in ("traceparent", "tracestate") and value is not None:
            given.setdefault(name, value.decode("latin-1"))
    context = _PROPAGATOR.extract(given)
    producer = get_current_span(context).get_span_context()
    return context if producer.is_valid and producer.trace_flags.sampled else None

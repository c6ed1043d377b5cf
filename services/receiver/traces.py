"""Traces of deliveries: a span of each publication, which its record names as its parent."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.receiver.hooks import Headers, Sending


def sending(provider: TracerProvider, topic: str) -> Sending:
    """A function that wraps the publication of a delivery in a span below that of its request. The block gets
    the headers that the record must have: none if the request is not traced."""
    tracer = provider.get_tracer("callfold.receiver", version("callfold"))
    propagator = TraceContextTextMapPropagator()

    @contextmanager
    def send() -> Iterator[Headers]:
        with tracer.start_as_current_span(
            f"send {topic}",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            written: dict[str, str] = {}
            if span.is_recording():
                propagator.inject(written)
            try:
                yield [(name, value.encode()) for name, value in written.items()]
            except BaseException as fault:
                span.set_attribute("error.type", type(fault).__name__)
                span.set_status(StatusCode.ERROR, "")
                raise

    return send

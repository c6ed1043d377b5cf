"""The producer that callfold publishes with."""

from aiokafka import AIOKafkaProducer

from shared.calls.event import VALUE_BYTES_MAX
from shared.kafka.client import Broker, client_options


def producer(
    broker: Broker, *, request_bytes_max: int = 2 * VALUE_BYTES_MAX, compression: str | None = None
) -> AIOKafkaProducer:
    """A producer, not yet started, that loses no record and writes none twice. By default it takes the
    largest event. `compression` is a codec of Kafka, such as zstd."""
    return AIOKafkaProducer(
        **client_options(broker),
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        max_request_size=request_bytes_max,
        compression_type=compression,
    )

"""The producer that callfold publishes with."""

from aiokafka import AIOKafkaProducer

from shared.calls.event import VALUE_BYTES_MAX
from shared.kafka.client import Broker, client_options


def producer(
    broker: Broker,
    *,
    request_bytes_max: int = 2 * VALUE_BYTES_MAX,
    compression: str | None = None,
    idempotent: bool = True,
    request_seconds: float = 40,
    linger_ms: int = 5,
    transactional_id: str | None = None,
) -> AIOKafkaProducer:
    """A producer, not yet started, that loses no record and writes none twice. By default it takes the
    largest event. `compression` is a codec of Kafka, such as zstd.

    Without `idempotent` it may write a record twice. It then gives up a record that no broker has taken
    within `request_seconds`, and a record that the broker refuses does not harm the next ones.
    `linger_ms` is the time that a record waits for others to share its request. With `transactional_id`, it
    writes in transactions, and fences the earlier producers of that id."""
    return AIOKafkaProducer(
        **client_options(broker),
        enable_idempotence=idempotent,
        acks="all",
        linger_ms=linger_ms,
        max_request_size=request_bytes_max,
        compression_type=compression,
        request_timeout_ms=int(request_seconds * 1000),
        transactional_id=transactional_id,
    )

"""The producer that callfold publishes with."""

from aiokafka import AIOKafkaProducer

from shared.calls.event import VALUE_BYTES_MAX
from shared.kafka.client import Broker, client_options


def producer(broker: Broker) -> AIOKafkaProducer:
    """A producer, not yet started, that loses no record and writes none twice. It takes the largest event."""
    return AIOKafkaProducer(
        **client_options(broker),
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        max_request_size=2 * VALUE_BYTES_MAX,
    )

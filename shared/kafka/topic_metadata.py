"""The broker's description of a topic: its id and number of partitions.

aiokafka 0.14 supports metadata requests up to version 5. Their responses have no topic id, and a broker may
create a topic that such a request names. Version 10 (KIP-516, Kafka 2.8) returns the id.

This file uses private parts of aiokafka: `_client.send`, `_client.get_random_node`,
`_client.force_metadata_update` and `_client.cluster`.
"""

from dataclasses import dataclass
from io import BytesIO
from uuid import UUID

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    LeaderNotAvailableError,
    NodeNotReadyError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)


@dataclass(frozen=True)
class Topic:
    """`topic_id` is None where the broker is too old to have ids. Partitions are numbered from 0."""

    topic_id: UUID | None
    partitions: int


class _Uuid:
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))

    @classmethod
    def repr(cls, value: UUID) -> str:
        return str(value)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class DescribeTopic(Request[_MetadataRequest]):  # type: ignore[misc]
    """Asks a broker for one topic by its name. A broker older than Kafka 2.8 makes `prepare` raise
    NotImplementedError."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        """The request as version 10 writes it."""
        return request_struct_class([(UUID(int=0), self._topic, {})], False, False, False, {})


def topic_of(response: Response) -> Topic | None:
    """The requested topic in the broker's response; None if it does not exist. Raises aiokafka's error if the
    broker refuses the request, and LeaderNotAvailableError while the broker creates the topic."""
    ((error_code, _, topic_id, _, partitions, _, _),) = response.topics
    error = for_code(error_code)
    if error is UnknownTopicOrPartitionError:
        return None
    if error_code:
        raise error()
    if not partitions:
        raise LeaderNotAvailableError
    return Topic(topic_id, len(partitions))


async def described(consumer: AIOKafkaConsumer, topic: str) -> Topic | None:
    """The broker's current description of the topic; None if it does not exist. For a broker older than Kafka
    2.8, the description comes from aiokafka's metadata. Raises aiokafka's errors."""
    client = consumer._client
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    try:
        return topic_of(await client.send(node, DescribeTopic(topic)))
    except NotImplementedError:
        await client.force_metadata_update()
        partitions = client.cluster.partitions_for_topic(topic)
        return None if partitions is None else Topic(None, len(partitions))

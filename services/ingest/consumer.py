"""The consumer: aiokafka's, which also reports its exceptions, the loss of its broker, and the topic's
metadata.

This file and `shared.kafka.topic_metadata` use private parts of aiokafka: `_coordinator.coordinator_id`,
`_client.send`, `_client.get_random_node`, `_client.force_metadata_update` and `_client.cluster`. They are
checked when a consumer is made and started.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import ConsumerRecord as Record
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import ConsumerStoppedError, UnknownTopicOrPartitionError

from services.ingest.assignor import Assignor
from shared.upstream import expect_parts

STOP_SECONDS: Final = 3

Records = Mapping[TopicPartition, Sequence[Record]]


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Calls `on_fault` with each exception of polling, such as a batch that cannot be unpacked or a group
    that cannot be joined.

    Records of other partitions may be lost with such a fault. FastStream would continue to poll and skip them
    at the next commit. aiokafka raises no exception for temporary faults, such as an unreachable broker or a
    rebalance.

    `on_poll` is called before each poll, `on_records` with the records of each, in the step in which the
    positions move past them. `on_missing_topic` is called when the broker reports that the topic does not
    exist.

    `abandoned` is true once the topic was removed or the consumer stopped. None of its records are committed
    then.
    """

    def __init__(
        self,
        on_fault: Callable[[Exception], None],
        on_poll: Callable[[], None],
        on_records: Callable[[Records], None],
        on_missing_topic: Callable[[], None],
        assignor: Assignor,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        expect_parts("aiokafka", self, "_client", "_coordinator")
        expect_parts("aiokafka", self._client, "send", "get_random_node", "force_metadata_update", "cluster")
        self.abandoned = False
        self._on_fault = on_fault
        self._on_poll = on_poll
        self._on_records = on_records
        self._on_missing_topic = on_missing_topic
        self._assignor = assignor
        self._subscribed: dict[str, Any] = {}
        logging.getLogger("aiokafka.cluster").addFilter(_not_about_a_missing_topic)

    @property
    def lost_broker(self) -> bool:
        """Whether the group's coordinator is unreachable, by the last heartbeat. aiokafka waits for it
        without reporting to its caller, and has no public way to ask."""
        return self._coordinator.coordinator_id is None

    async def start(self) -> None:
        """As aiokafka's, but a consumer that cannot start (the user may not join the group, or the topic is
        missing) is closed. A missing topic is not a fault: the caller waits for it."""
        try:
            await super().start()
        except Exception as fault:
            if not isinstance(fault, UnknownTopicOrPartitionError):
                self._on_fault(fault)
            await self.stop()
            raise
        expect_parts("aiokafka", self._coordinator, "coordinator_id")
        self._client.cluster.add_listener(self._look_for_topic)

    async def stop(self) -> None:
        """As aiokafka's, which leaves the group and closes its connections, but with a time limit: aiokafka
        waits 30 s for a broker that does not answer the end of TLS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await super().stop()
        self.abandoned = True

    def subscribe(self, **subscription: Any) -> None:
        """As aiokafka's."""
        self._subscribed = subscription
        super().subscribe(**subscription)

    def rejoin(self) -> None:
        """Rejoins the group under the same member id, so that the coordinator starts a rebalance. Renewing
        the subscription is aiokafka's public way to rejoin."""
        self._assignor.ask_for_rebalance()
        super().subscribe(**self._subscribed)

    async def refresh(self) -> None:
        """Requests the cluster's metadata now. A leader that finds other partitions starts a rebalance."""
        await self._client.force_metadata_update()

    async def getmany(self, *partitions: Any, **options: Any) -> Any:
        """As aiokafka's."""
        self._on_poll()
        try:
            records = await super().getmany(*partitions, **options)
        except ConsumerStoppedError:
            raise
        except Exception as fault:
            self._on_fault(fault)
            raise
        self._on_records(records)
        return records

    def _look_for_topic(self, cluster: ClusterMetadata) -> None:
        if any(cluster.partitions_for_topic(topic) is None for topic in self.subscription()):
            self._on_missing_topic()


def _not_about_a_missing_topic(record: logging.LogRecord) -> bool:
    """Drops aiokafka's warning of a missing topic, which repeats with each metadata request. Ingest logs it
    once."""
    return not str(record.msg).startswith("Topic %s not found")

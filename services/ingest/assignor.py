"""How the group's leader distributes the partitions, and how every member learns the result.

Kafka gives a restarted static member its old assignment, without a rebalance. If that member was the leader,
no member compares the assignment with the topic from then on (KAFKA-13435). So each assignment here contains
the number of distributed partitions. Every member can compare it with the topic and request a rebalance.
"""

from collections.abc import Iterable, Mapping

import msgspec
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class Distribution(msgspec.Struct, frozen=True):
    """The data that the leader adds to a member's assignment."""

    partitions: dict[str, int]
    """How many partitions of each topic the leader distributed among the members."""
    speaks_for_group: bool
    """True for exactly one member, which reports the partitions that belong to no member."""


class Assignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """Round robin under its usual name, so that members with and without this class share a group.

    `distribution` belongs to this member's assignment. It is None before the first one, or if the leader is
    an older ingest process that writes none.
    """

    def __init__(self) -> None:
        self.distribution: Distribution | None = None
        self._rebalances_asked = 0

    def ask_for_rebalance(self) -> None:
        """Makes the next join request differ from the last one. For an equal request of a follower, the
        coordinator starts no rebalance."""
        self._rebalances_asked += 1

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """As round robin, with the distribution as each assignment's user data."""
        topics = {topic for metadata in members.values() for topic in metadata.subscription}
        partitions = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        speaker = min(members)
        return {
            member: ConsumerProtocolMemberAssignment(
                assigned.version,
                assigned.assignment,
                msgspec.json.encode(Distribution(partitions, member == speaker)),
            )
            for member, assigned in super().assign(cluster, members).items()
        }

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """As round robin, with the number of requested rebalances as user data."""
        return ConsumerProtocolMemberMetadata(
            self.version, list(topics), str(self._rebalances_asked).encode()
        )

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Keeps what the leader wrote."""
        try:
            self.distribution = msgspec.json.decode(assignment.user_data or b"", type=Distribution)
        except msgspec.MsgspecError:
            self.distribution = None

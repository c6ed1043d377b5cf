"""The readiness of each service, as seen from outside: by its responses, partitions or connections."""

from collections.abc import Collection
from typing import Any

import asyncpg
import httpx
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from shared.kafka.topic import administration, partitions_of


async def is_ready(url: str) -> bool:
    """Whether the API or the receiver at this address reports that it is ready."""
    # Both processes run on this machine, so a proxy from the environment must not be used.
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        try:
            return (await client.get(f"{url}/health/ready")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


async def is_connected(database_url: str, service: str) -> bool:
    """Whether this service has a session in the database."""
    try:
        connection = await asyncpg.connect(database_url, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    try:
        question = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)"
        return bool(await connection.fetchval(question, f"callfold-{service}"))
    finally:
        await connection.close()


async def member_ids(bootstrap: str, group: str) -> set[str] | None:
    """The ids of the members of a consumer group. They include dead members that Kafka has not removed yet.
    None while Kafka does not report them."""
    members = await _members(bootstrap, group)
    return None if members is None else {member["member_id"] for member in members}


async def owns_all(bootstrap: str, group: str, topic: str, former: Collection[str]) -> bool:
    """Whether members of the group, other than the former ones, own all partitions that the topic has now. An
    operator may have added partitions, or recreated the topic with fewer."""
    try:
        async with administration(bootstrap, request_seconds=5) as admin:
            partitions = await partitions_of(admin, topic)
    except (KafkaError, OSError, TimeoutError):
        return False
    owned = {
        partition
        for member in await _members(bootstrap, group) or []
        if member["member_id"] not in former
        for name, numbers in ConsumerProtocolMemberAssignment.decode(member["member_assignment"]).assignment
        if name == topic
        for partition in numbers
    }
    return bool(partitions) and owned == set(partitions)


async def _members(bootstrap: str, group: str) -> list[dict[str, Any]] | None:
    """The members of the group as Kafka describes them; none while the group rebalances."""
    try:
        async with administration(bootstrap, request_seconds=5) as admin:
            answers = await admin.describe_consumer_groups([group])
    except (KafkaError, OSError, TimeoutError):
        return None
    answer = answers[0].to_object()["groups"][0]
    if answer["error_code"] != 0:
        return None
    return list(answer["members"]) if answer["state"] == "Stable" else []

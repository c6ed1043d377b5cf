"""On a cluster of Citus, events become calls, counts, records of the topic of calls and messages."""

import uuid
from pathlib import Path
from uuid import UUID

import pytest

from services.ops.proof.proof import prove
from shared.database import roles
from shared.database.connection import Connection
from shared.database.distributed import servers
from shared.kafka.topic import ensure_topic
from tests.support.ingesting import call
from tests.support.pipeline import Pipeline
from tests.support.processes import starting, until
from tests.support.roles import as_role
from tests.support.topic_of_calls import stored_calls, topic_of_calls

ORGANIZATIONS = [UUID(int=n + 1, version=4) for n in range(8)]
CALLS = 25


@pytest.mark.parametrize("at", ["coordinator", "worker"])
async def test_each_change_reaches_the_topic_and_the_webhook(
    pipeline: Pipeline, database: Connection, database_url: str, tmp_path: Path, at: str
) -> None:
    """Also of shards that were moved, in both ways, while a publisher runs."""
    url = (await servers(database, database_url))[at == "worker"].url
    calls_topic = f"calls-{uuid.uuid4().hex[:12]}"
    await ensure_topic(pipeline.bootstrap, calls_topic, 2, compacted=True)
    owner = ORGANIZATIONS[0]
    await database.execute(
        "INSERT INTO webhooks (organization_id, id, livemode, url, types, secrets) "
        "VALUES ($1, $1, true, 'https://example.com/callfold', '{}', '')",
        owner,
    )

    async def publish(begin: int) -> None:
        numbers = range(begin, begin + CALLS)
        await pipeline.publish(
            event for n in numbers for each in ORGANIZATIONS for event in call(n, organization_id=each)
        )
        await pipeline.consumed()

    async def messages() -> int:
        found: int = await database.fetchval(
            "SELECT count(*) FROM webhook_messages WHERE organization_id = $1 AND type = 'call.completed'",
            owner,
        )
        return found

    with (
        starting(
            "publisher",
            tmp_path,
            database_url=as_role(url, roles.PUBLISHER),
            kafka_bootstrap=pipeline.bootstrap,
            calls_topic=calls_topic,
        ) as start_publisher,
        starting(
            "aggregator",
            tmp_path,
            database_url=as_role(url, roles.AGGREGATOR),
            kafka_bootstrap=pipeline.bootstrap,
        ) as start_aggregator,
    ):
        pipeline.start(database_url=as_role(url, roles.INGEST))
        start_publisher()
        start_aggregator()
        await publish(0)
        async with topic_of_calls(pipeline.bootstrap, calls_topic) as topic:
            await topic.until_equal(database)
            assert len(await stored_calls(database)) == CALLS * len(ORGANIZATIONS)
            for number, mode in enumerate(("force_logical", "block_writes")):
                await database.execute(_MOVE, number, mode)
                await publish((number + 1) * CALLS)
                await topic.until_equal(database)
            await database.execute("DELETE FROM call_events WHERE organization_id = $1", owner)
            await database.execute("DELETE FROM calls WHERE organization_id = $1", owner)
            await topic.until_equal(database)
            assert not any(key.startswith(str(owner)) for key in topic.calls)
            await until(lambda: _has_deletions(database, owner), "messages about deleted calls")
    assert await messages() == 0


async def test_a_proof_is_exact(pipeline: Pipeline, database_url: str) -> None:
    await pipeline.publish(
        event for n in range(CALLS) for each in ORGANIZATIONS for event in call(n, organization_id=each)
    )
    await pipeline.run_until_consumed()
    proof = await prove(database_url)
    assert proof.exact, proof.differences


async def _has_deletions(database: Connection, owner: UUID) -> bool:
    found: int = await database.fetchval(
        "SELECT count(*) FROM webhook_messages WHERE organization_id = $1 AND type = 'call.deleted'", owner
    )
    return found == CALLS * 3


_MOVE = """
SELECT citus_move_shard_placement(
    shardid, nodename, nodeport, host, port, $2::text::citus.shard_transfer_mode)
FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node USING (groupid),
    LATERAL (SELECT nodename AS host, nodeport AS port FROM pg_dist_node AS other
             WHERE other.shouldhaveshards AND other.groupid <> pg_dist_node.groupid LIMIT 1) AS elsewhere
WHERE logicalrelid = 'calls'::regclass ORDER BY shardid OFFSET $1 LIMIT 1
"""

"""Faults of Kafka: brokers that die, restart or freeze, and a reset of the group's offsets."""

import asyncio
import signal
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.ops.embedded.servers import Server
from tests.storm.schedule import Planned
from tests.storm.stage import PARTITIONS, Stage, StormBroke

AGAIN_SECONDS: Final = 0.5
RESET_SECONDS: Final = 60


async def kill(stage: Stage, planned: Planned) -> None:
    """Sends SIGKILL. The topic stays available if the broker is one of three."""
    await _end(_broker(stage, planned), signal.SIGKILL, planned.lasts_seconds)


async def restart(stage: Stage, planned: Planned) -> None:
    """Sends SIGTERM. The broker hands its partitions and groups to other brokers, if there are any."""
    await _end(_broker(stage, planned), signal.SIGTERM, planned.lasts_seconds)


async def freeze(stage: Stage, planned: Planned) -> None:
    """Sends SIGSTOP, later SIGCONT: connections stay open without a response."""
    broker = _broker(stage, planned)
    broker.send(signal.SIGSTOP)
    await asyncio.sleep(planned.lasts_seconds)
    broker.send(signal.SIGCONT)


async def reset_offsets(stage: Stage, _: Planned) -> None:
    """Stops all ingest processes and resets the group to the first record."""
    replicas = stage.replicas("ingest")
    await asyncio.gather(*(replica.stop() for replica in replicas))
    try:
        async with asyncio.timeout(RESET_SECONDS):
            while not await _committed_the_begin(stage):
                await asyncio.sleep(AGAIN_SECONDS)
    except TimeoutError:
        raise StormBroke("the group's offsets could not be reset") from None
    for replica in replicas:
        replica.up()


async def _committed_the_begin(stage: Stage) -> bool:
    """False while the group still has members, or has no coordinator."""
    begin = {TopicPartition(stage.topic, n): 0 for n in range(PARTITIONS)}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stage.grounds.bootstrap, group_id=stage.group, enable_auto_commit=False
    )
    try:
        await consumer.start()
        consumer.assign(list(begin))
        await asyncio.wait_for(consumer.commit(begin), 10)
    except (KafkaError, TimeoutError):
        return False
    finally:
        await consumer.stop()
    return True


def _broker(stage: Stage, planned: Planned) -> Server:
    return stage.grounds.brokers[planned.target % len(stage.grounds.brokers)]


async def _end(broker: Server, number: signal.Signals, lasts_seconds: float) -> None:
    await asyncio.to_thread(broker.kill, number)
    await asyncio.sleep(lasts_seconds)
    await broker.start()

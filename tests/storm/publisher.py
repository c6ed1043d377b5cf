"""The telephony systems of a storm: they retry each record until the broker has acknowledged it."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.ops.demo.simulator import Record
from tests.storm.stage import Stage

TICK_SECONDS: Final = 0.1
RECORDS_AT_ONCE: Final = 2_000
STOP_SECONDS: Final = 5
REQUEST_MS: Final = 15_000
Place = tuple[int, int]
"""Partition and offset."""


@dataclass
class Acknowledged:
    """The records that the broker acknowledged. A record without an acknowledgement was published again, and
    may be stored twice."""

    records: int = 0
    published_again: int = 0
    broken: set[Place] = field(default_factory=set)
    """The positions of the records that are not events."""


async def publish(stage: Stage, seconds: float) -> Acknowledged:
    """Publishes the workload at the pace of the storm, and faster when it has fallen behind."""
    records = stage.workload.records
    done = Acknowledged()
    to: AIOKafkaProducer | None = None
    try:
        while done.records < len(records):
            due = min(len(records), int(len(records) * stage.seconds / seconds) + 1)
            some = records[done.records : min(due, done.records + RECORDS_AT_ONCE)]
            if not some:
                await asyncio.sleep(TICK_SECONDS)
                continue
            left: list[Record] = list(some)
            while left:
                to = to or await _started(stage)
                left = await _send(to, stage.topic, left, done)
                if left:
                    # A producer that failed may have lost its sequence number permanently.
                    done.published_again += len(left)
                    await _stop(to)
                    to = None
            done.records += len(some)
            stage.published = done.records
    finally:
        if to is not None:
            await _stop(to)
    return done


async def _started(stage: Stage) -> AIOKafkaProducer:
    while True:
        to = AIOKafkaProducer(
            bootstrap_servers=stage.grounds.bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=20,
            max_batch_size=128 * 1024,
            request_timeout_ms=REQUEST_MS,
        )
        try:
            await to.start()
            return to
        except KafkaError:
            await _stop(to)
            await asyncio.sleep(TICK_SECONDS)


async def _send(
    to: AIOKafkaProducer, topic: str, records: Sequence[Record], done: Acknowledged
) -> list[Record]:
    """Sends them in their order. Returns those that are not acknowledged."""
    sent: list[tuple[Record, asyncio.Future[Any]]] = []
    with contextlib.suppress(KafkaError):
        for record in records:
            future = await to.send(topic, record.value, key=record.key, headers=list(record.headers))
            sent.append((record, future))
    await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
    failed = list(records[len(sent) :])
    for record, future in sent:
        fault = future.exception()
        if fault is None:
            place = future.result()
            if record.fault is not None:
                done.broken.add((place.partition, place.offset))
        elif isinstance(fault, KafkaError):
            failed.append(record)
        else:
            raise fault
    return failed


async def _stop(to: AIOKafkaProducer) -> None:
    with contextlib.suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(to.stop(), STOP_SECONDS)

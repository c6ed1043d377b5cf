"""The path of an event: published to a topic, stored by ingest processes, proved in the database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from services.ops.pipeline_lag import PartitionLag, consumer_lag
from services.ops.proof.proof import prove
from tests.support.ingesting import GROUP, StartIngest, assert_exact, call
from tests.support.processes import Record, Service, publish, until


def calls(begin: int, end: int | None = None) -> list[bytes]:
    """The events of N calls, or of the calls from `begin` up to but not including `end`: see
    `ingesting.call`."""
    numbers = range(begin) if end is None else range(begin, end)
    return [event for n in numbers for event in call(n)]


@dataclass(frozen=True)
class Pipeline:
    """A topic, the processes of one consumer group that read it, and the database that they write to."""

    bootstrap: str
    topic: str
    database_url: str
    start: StartIngest
    """Starts a process of ingest with these settings. It runs until it is stopped, or the test ends."""

    @property
    def group(self) -> str:
        """The consumer group of processes whose settings name no other."""
        return f"{GROUP}-{self.topic}"

    async def publish(self, records: Iterable[bytes | Record | None]) -> None:
        """Publishes values in this order, all with one key, or whole records: (key, value, headers)."""
        await publish(self.bootstrap, self.topic, records)

    async def run_until_consumed(self, **settings: str) -> Service:
        """Runs a process until its group has committed every record of the topic. Returns the process, which
        has then ended with status 0."""
        service: Service = self.start(**settings)
        await self.consumed(settings.get("consumer_group"))
        assert service.stop() == 0
        return service

    async def consumed(self, group: str | None = None) -> None:
        """Returns when the group, or the processes' own, has committed every record of the topic."""

        async def none_behind() -> bool:
            return await self.lag(group) == 0

        await until(none_behind, "all records to be committed")

    async def lag(self, group: str | None = None) -> int:
        """How many records of the topic the group, or the processes' own, has not committed."""
        return sum(partition.lag for partition in await self.lags(group))

    async def lags(self, group: str | None = None) -> Sequence[PartitionLag]:
        """How far the group, or the processes' own, is behind in each partition."""
        return await consumer_lag(self.bootstrap, self.topic, group or self.group)

    async def assert_proved(self) -> None:
        """Fails unless the proof finds calls and counts exact."""
        proof = await prove(self.database_url)
        assert proof.exact, proof.differences

    async def assert_exact(self, calls: int) -> None:
        """Fails unless the database has exactly N calls of `ingesting.call`, complete, and the proof
        passes."""
        database = await asyncpg.connect(self.database_url)
        try:
            await assert_exact(self.database_url, database, calls)
        finally:
            await database.close()

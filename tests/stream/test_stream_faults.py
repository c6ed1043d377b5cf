"""Streams whose readers, API processes, database or broker fail: a client that resumes loses nothing."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from services.ops.embedded.servers import Servers
from services.publisher.topic_writer import topic_writer
from shared.database.connection import Connection
from shared.settings.publisher import PublisherSettings
from tests.publisher.conftest import StartPublisher
from tests.stream.conftest import Running, StartApi, Told
from tests.support import seed
from tests.support.api import bearing
from tests.support.databases import Databases
from tests.support.event_streams import Heard, Reader, reading
from tests.support.events import event
from tests.support.processes import until
from tests.support.storing import stored

SEED = 20261129


async def is_readable(api: Running, key: str) -> bool:
    """Whether a stream begins."""
    try:
        async with api.client.stream("GET", "/calls/stream", headers=bearing(key)) as answer:
            return answer.status_code == 200
    except httpx.TransportError:
        return False


class Follower:
    """A client that keeps a copy of the calls, resumes with its last id, and lists again after a reset."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._heard: list[Heard] = []
        self.last_id: str | None = None
        self.resets = 0

    async def follow(
        self, api: Running, cut: Callable[[Reader], Awaitable[object]], chance: random.Random | None = None
    ) -> None:
        """Reads one stream until it is cut. With `chance`, the client ends before it has handled all events
        that arrived."""
        async with reading(api.client, self._key, self.last_id) as reader:
            await cut(reader)
        heard, self.last_id = reader.heard, reader.last_id
        if chance is not None and heard:
            heard = heard[: chance.randint(1, len(heard))]
            self.last_id = heard[-1].id
        self._heard += heard
        self.resets += [each.name for each in heard].count("reset")

    def calls(self, reader: Reader | None = None) -> dict[str, dict[str, Any]]:
        """The copy, with what an open stream has sent."""
        copy: dict[str, dict[str, Any]] = {}
        for each in [*self._heard, *(reader.heard if reader else ())]:
            if each.name == "call.changed":
                copy[each.data["id"]] = each.data
            elif each.name == "call.deleted":
                copy.pop(each.data["id"], None)
        return copy

    def latencies(self) -> dict[str, list[int]]:
        """The values of the field that grows with each change, of each call in the order of the events."""
        found: dict[str, list[int]] = {}
        for each in self._heard:
            if each.name == "call.changed":
                found.setdefault(each.data["id"], []).append(each.data["latency_ms"])
        return found


async def test_cuts_and_kills_lose_nothing_and_no_call_goes_back(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme, globex = await seed.tenant(database), await seed.tenant(database)
    chance = random.Random(SEED)
    # One process resumes from memory, the other one from the topic.
    tails = ("10000", "3")
    apis = [await start_api(api_stream_tail_records=tail) for tail in tails]
    calls = [uuid4() for _ in range(12)]
    follower, last = Follower(acme.key), dict[UUID, int]()
    written: dict[str, list[int]] = {}
    is_over = asyncio.Event()

    async def change() -> None:
        n = -1
        while not is_over.is_set():
            n += 1
            some = chance.sample(calls, chance.randint(1, 4))
            await told.all(
                [(owner, call, {"latency_ms": n}) for call in some for owner in (acme.id, globex.id)]
            )
            last.update(dict.fromkeys(some, n))
            for call in some:
                written.setdefault(str(call), []).append(n)
            if n % 40 == 39:
                await told.deleted(acme.id, some[0])
                del last[some[0]]

    async def nothing(_: Reader) -> None:
        """Cuts the first stream before any change, so that the next one resumes at the start."""

    await follower.follow(apis[0], nothing)
    changing = asyncio.create_task(change())
    for cuts in range(1, 21):
        events = chance.randint(1, 60)
        at = chance.randrange(2)

        async def cut(reader: Reader, events: int = events) -> None:
            await until(lambda: len(reader.heard) >= events or reader.is_over, "events to arrive")

        await follower.follow(apis[at], cut, chance)
        if cuts % 5 == 0:
            killed = chance.randrange(2)
            apis[killed].service.kill()
            apis[killed] = await start_api(api_stream_tail_records=tails[killed])
    is_over.set()
    await changing

    async def all_arrived(reader: Reader) -> None:
        def is_complete() -> bool:
            copy = {call_id: call["latency_ms"] for call_id, call in follower.calls(reader).items()}
            return copy == {str(call): n for call, n in last.items()}

        await until(is_complete, "the copy to have the present states")

    await follower.follow(apis[0], all_arrived)
    assert follower.resets == 0
    # Kafka has compacted nothing yet, so each state arrives, and once: the last id follows the last event.
    assert follower.latencies() == written


async def test_a_real_publisher_and_a_real_store_through_cuts(
    start_api: StartApi, start_publisher: StartPublisher, database: Connection
) -> None:
    acme = await seed.tenant(database)
    publisher = start_publisher()
    apis = [await start_api(), await start_api(api_stream_tail_records="1")]
    follower = Follower(acme.key)
    for n in range(8):
        written = [
            event(
                "call.updated",
                id=f"evt_{n}_{call}",
                call_id=UUID(int=call),
                organization_id=acme.id,
                latency_ms=n,
            )
            for call in range(1, 40)
        ]

        async def cut(reader: Reader, written: list[Any] = written) -> None:
            await stored(database, *written)
            await until(lambda: len(reader.heard) > 5, "changes to arrive")

        await follower.follow(apis[n % 2], cut)
        publisher.kill()
        publisher = start_publisher()

    async def all_arrived(reader: Reader) -> None:
        def is_complete() -> bool:
            return [call["latency_ms"] for call in follower.calls(reader).values()] == [7] * 39

        await until(is_complete, "the copy to have the present states")

    await follower.follow(apis[0], all_arrived)
    listed = await apis[0].client.get("/calls", params={"limit": "100"}, headers=bearing(acme.key))
    assert follower.calls() == {call["id"]: call for call in listed.json()["data"]}
    for states in follower.latencies().values():
        assert states == sorted(states)


async def test_streams_end_while_kafka_is_unreachable_and_resume(
    start_api: StartApi, bootstrap: str, calls_topic: str, running: Servers, database: Connection
) -> None:
    acme = await seed.tenant(database)
    settings = PublisherSettings(kafka_bootstrap=bootstrap, calls_topic=calls_topic)
    async with topic_writer(settings) as writer:
        call_id = await Told(writer).changed(acme.id, latency_ms=1)
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        running.kafka.kill()
        try:
            await stream.until_over()
            answer = await api.client.get("/calls/stream", headers=bearing(acme.key))
            assert (answer.status_code, answer.json()["code"]) == (503, "CHANGES_UNAVAILABLE")
            assert (await api.client.get("/calls", headers=bearing(acme.key))).status_code == 200
        finally:
            await running.kafka.start()
    async with topic_writer(settings) as writer:
        await Told(writer).changed(acme.id, call_id, latency_ms=2)
    await until(lambda: is_readable(api, acme.key), "a stream to begin")
    async with reading(api.client, acme.key, stream.last_id) as resumed:
        await resumed.until(1)
        assert (resumed.names, resumed.heard[0].data["latency_ms"]) == (["call.changed"], 2)
    assert api.service.said("cannot read the changes of calls: ")
    assert api.service.said("reads the changes of calls again after ")


async def test_streams_continue_while_the_database_is_unreachable(
    start_api: StartApi, told: Told, database: Connection, database_url: str, databases: Databases
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        name = database_url.rpartition("/")[2]
        administration = await asyncpg.connect(databases.url("postgres"))
        try:
            await administration.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await administration.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 "
                "AND usename <> 'postgres'",
                name,
            )
            await until(lambda: api.service.said("the database is unavailable: "), "a check to fail")
            await told.changed(acme.id)
            await stream.until(1)
        finally:
            await administration.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await administration.close()
        await until(lambda: api.service.said("the database answers again after "), "a check to succeed")
        assert not stream.is_over


async def test_a_stop_is_quick_while_a_client_does_not_read(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    async with (
        api.client.stream("GET", "/calls/stream", headers=bearing(acme.key)) as slow,
        reading(api.client, acme.key) as stream,
    ):
        assert slow.status_code == 200
        for n in range(1, 20):
            await told.changed(acme.id, transcript="a" * 500_000)
            await stream.until(n)
        began = time.monotonic()
        await asyncio.to_thread(api.service.stop)
        assert time.monotonic() - began < 9
        await stream.until_over()

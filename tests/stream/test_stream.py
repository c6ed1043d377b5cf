"""The stream of changes, from real API processes, a real broker and a real database."""

import signal
import time
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from aiokafka.admin import NewPartitions

from services.api.access.tokens import LEEWAY_SECONDS
from services.api.stream.position import event_id, position_of
from services.publisher.topic_writer import topic_writer
from shared.api_keys import key_hash
from shared.database.connection import Connection
from shared.kafka.topic import administration, ensure_topic
from shared.settings.publisher import PublisherSettings
from shared.store.delete import delete
from tests.publisher.conftest import StartPublisher
from tests.stream.conftest import StartApi, Told
from tests.support import seed
from tests.support.api import bearing
from tests.support.event_streams import reading
from tests.support.monitoring import Monitor
from tests.support.processes import until

SECRET = "a secret of at least thirty-two bytes"


async def refusal(client: httpx.AsyncClient, key: str, **headers: str) -> tuple[int, str, str]:
    """The status, the code and the sentence of a refused stream."""
    answer = await client.get("/calls/stream", headers=bearing(key) | headers)
    said = answer.json()
    return answer.status_code, said["code"], said["error"]


async def test_each_change_arrives_as_the_list_shows_it(
    start_api: StartApi, start_publisher: StartPublisher, database: Connection
) -> None:
    acme = await seed.tenant(database)
    start_publisher()
    api = await start_api()
    async with (
        reading(api.client, acme.key) as stream,
        reading(api.client, acme.key, path="/v1/calls/stream") as version_1,
    ):
        await seed.call(database, acme, status="ringing", from_number="+4930901820")
        await stream.until(1)
        await version_1.until(1)
        (listed,) = (await api.client.get("/calls", headers=bearing(acme.key))).json()["data"]
        assert stream.heard[0].data == version_1.heard[0].data == listed
        assert 1000 <= (stream.retry_ms or 0) <= 5000


async def test_organizations_and_modes_never_meet(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme, globex = await seed.tenant(database), await seed.tenant(database)
    api = await start_api()
    async with (
        reading(api.client, acme.key) as of_acme,
        reading(api.client, acme.test_key) as of_acme_in_test,
        reading(api.client, globex.key) as of_globex,
    ):
        test_call = await told.changed(acme.id, livemode=False)
        theirs = await told.changed(globex.id)
        await told.deleted(globex.id, theirs)
        await told.deleted(acme.id, uuid4(), livemode=None)
        await told.deleted(acme.id, test_call, livemode=False)
        ours = await told.changed(acme.id)
        await told.changed(acme.id, ours, livemode=False)
        await told.changed(globex.id, theirs)

        assert [each.data["id"] for each in await of_acme.until(1)] == [str(ours)]
        assert [(each.name, each.data["id"]) for each in await of_acme_in_test.until(3)] == [
            ("call.changed", str(test_call)),
            ("call.deleted", str(test_call)),
            ("call.changed", str(ours)),
        ]
        await of_globex.until(3)
        assert of_globex.names == ["call.changed", "call.deleted", "call.changed"]
        assert {each.data["organization_id"] for each in of_globex.heard} == {str(globex.id)}
        assert of_globex.heard[1].data == {"id": str(theirs), "organization_id": str(globex.id)}
        assert len(of_acme.heard) == 1


async def test_filters_are_those_of_the_list(start_api: StartApi, told: Told, database: Connection) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    number = uuid4()
    async with (
        reading(api.client, acme.key, status="busy,failed") as by_status,
        reading(api.client, acme.key, direction="unknown") as without_direction,
        reading(api.client, acme.key, phone_number_id=str(number)) as by_number,
    ):
        busy = await told.changed(acme.id, status="busy", direction="inbound")
        of_number = await told.changed(acme.id, phone_number_id=number, direction="outbound")
        unknown = await told.changed(acme.id)
        await told.deleted(acme.id, of_number)

        for stream, call_id in ((by_status, busy), (without_direction, unknown), (by_number, of_number)):
            first, last = await stream.until(2)
            assert (first.name, first.data["id"]) == ("call.changed", str(call_id))
            assert (last.name, last.data["id"]) == ("call.deleted", str(of_number))


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("direction=up", "direction must be 'inbound', 'outbound' or 'unknown'."),
        (
            f"phone_number_id={UUID(int=0)}",
            "phone_number_id must not be the nil UUID, which identifies no phone number.",
        ),
        (
            "limit=1",
            "limit is not a parameter of this route, which takes status, direction, phone_number_id.",
        ),
        ("status=busy&status=failed", "status must be sent only once."),
    ],
)
async def test_a_query_is_refused_as_by_the_list(
    start_api: StartApi, database: Connection, query: str, sentence: str
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    answer = await api.client.get(f"/calls/stream?{query}", headers=bearing(acme.key))
    assert (answer.status_code, answer.json()["error"]) == (400, sentence)


async def test_an_id_that_is_none_is_refused(start_api: StartApi, database: Connection) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        known = stream.last_id or ""
    for malformed in ("1", known[:-1], known + "A", known[:5] + "~" + known[6:]):
        status, code, sentence = await refusal(api.client, acme.key, **{"Last-Event-ID": malformed})
        assert (status, code) == (400, "INVALID_PARAMETER")
        assert sentence == "Last-Event-ID must be the id of an event of this stream."


async def test_a_stream_continues_on_another_process(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme, globex = await seed.tenant(database), await seed.tenant(database)
    first, second = await start_api(), await start_api()
    async with reading(first.client, acme.key) as stream:
        call_id = await told.changed(acme.id, latency_ms=1)
        await stream.until(1)
    await told.changed(globex.id)
    await told.changed(acme.id, call_id, latency_ms=2)
    await told.deleted(acme.id, call_id)
    async with reading(second.client, acme.key, stream.last_id) as resumed:
        await resumed.until(2)
        assert resumed.names == ["call.changed", "call.deleted"]
        assert resumed.heard[0].data["latency_ms"] == 2
        await told.changed(acme.id, call_id, latency_ms=3)
        await resumed.until(3)
    async with reading(first.client, acme.key, resumed.heard[0].id) as again:
        await again.until(2)
        assert again.names == ["call.deleted", "call.changed"]


@pytest.mark.parametrize("tail", ["10000", "2"])
async def test_nothing_is_lost_from_memory_or_from_the_topic(
    start_api: StartApi, told: Told, database: Connection, tail: str
) -> None:
    acme, globex = await seed.tenant(database), await seed.tenant(database)
    calls = [uuid4() for _ in range(40)]
    api = await start_api(api_stream_tail_records=tail)
    async with reading(api.client, acme.key) as stream:
        begins = stream.last_id
    for n in range(20):
        await told.all(
            [
                (organization, call, {"latency_ms": n})
                for call in calls
                for organization in (acme.id, globex.id)
            ]
        )
    async with reading(api.client, acme.key, begins) as resumed:
        heard = await resumed.until(800)
        half = heard[399]
        await told.changed(acme.id, calls[0], latency_ms=20)
        await resumed.until(801)
    async with reading(api.client, acme.key, half.id) as other:
        await other.until(401)
        seen = [(each.data["id"], each.data["latency_ms"]) for each in [*heard[:400], *other.heard]]
        assert len(seen) == len(set(seen)) == 801
        for call in calls:
            states = [latency for call_id, latency in seen if call_id == str(call)]
            assert states[:20] == list(range(20))


async def test_a_heartbeat_moves_the_position_and_dispatches_nothing(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme, globex = await seed.tenant(database), await seed.tenant(database)
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        begins = stream.last_id
        await told.changed(globex.id)
        await until(lambda: stream.last_id != begins, "a heartbeat")
        assert stream.heard == []


async def test_deleted_calls_of_a_real_publisher(
    start_api: StartApi, start_publisher: StartPublisher, database: Connection
) -> None:
    acme = await seed.tenant(database)
    start_publisher()
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        call_id = await seed.call(database, acme)
        await until(lambda: stream.states(call_id), "the call to arrive")
        await delete(database, acme.id, call_id, livemode=True, actor="test")
        await until(lambda: "call.deleted" in stream.names, "the deletion to arrive")
        assert stream.heard[-1].data == {"id": str(call_id), "organization_id": str(acme.id)}


async def test_without_kafka_only_streams_are_refused(start_api: StartApi, database: Connection) -> None:
    acme = await seed.tenant(database)
    sentence = "The API cannot read the changes of calls from Kafka; retry in a moment, or poll GET /calls."
    for settings in (
        {"kafka_bootstrap": "127.0.0.1:1"},
        {"kafka_security_protocol": "SASL_SSL"},
        {"calls_topic": "no-such-topic"},
    ):
        api = await start_api(**settings)
        assert await refusal(api.client, acme.key) == (503, "CHANGES_UNAVAILABLE", sentence)
        assert (await api.client.get("/calls", headers=bearing(acme.key))).status_code == 200
        assert api.service.said("cannot read the changes of calls: ") or api.service.said(
            "streams are refused: CALLFOLD_KAFKA_USERNAME must be set"
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"api_stream_resume_hours": "0.0001"},
        {"api_stream_tail_records": "0", "api_stream_resume_records": "5"},
    ],
)
async def test_a_client_that_was_away_too_long_lists_again(
    start_api: StartApi, told: Told, database: Connection, settings: dict[str, str]
) -> None:
    acme = await seed.tenant(database)
    api = await start_api(**settings)
    async with reading(api.client, acme.key) as stream:
        await told.changed(acme.id)
        ((_, _, begins),) = await stream.until(1)
    for n in range(6):
        await told.changed(acme.id, latency_ms=n)
    before = time.time()
    await until(lambda: time.time() > before + 1, "the id to be too old")
    async with reading(api.client, acme.key, begins) as resumed:
        (reset,) = await resumed.until(1)
        assert (reset.name, reset.data) == ("reset", {})
        await told.changed(acme.id, latency_ms=7)
        await resumed.until(2)
        assert resumed.heard[1].data["latency_ms"] == 7


async def test_a_topic_that_was_created_again_is_another(
    start_api: StartApi, bootstrap: str, calls_topic: str, database: Connection
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        async with administration(bootstrap) as admin:
            await admin.delete_topics([calls_topic])
        await stream.until_over()
    await until(lambda: api.service.said("cannot read the changes of calls: "), "the reader to notice")

    async def created() -> bool:
        return await ensure_topic(bootstrap, calls_topic, 2, compacted=True)

    await until(created, "the topic to be created again")

    async def is_read() -> bool:
        async with api.client.stream("GET", "/calls/stream", headers=bearing(acme.key)) as answer:
            return answer.status_code == 200

    await until(is_read, "the reader to read the new topic")
    async with reading(api.client, acme.key, stream.last_id) as resumed:
        await resumed.until(1)
        assert resumed.names == ["reset"]


async def test_offsets_beyond_the_end_begin_with_a_reset(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        position = position_of(stream.last_id or "")
    beyond = event_id(replace(position, offsets=tuple(offset + 9 for offset in position.offsets)))
    async with reading(api.client, acme.key, beyond) as resumed:
        await resumed.until(1)
        assert resumed.names == ["reset"]


async def test_partitions_that_are_added_are_read(
    start_api: StartApi, told: Told, bootstrap: str, calls_topic: str, database: Connection
) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    async with reading(api.client, acme.key) as stream:
        begins = stream.last_id
        await told.changed(acme.id)
        await stream.until(1)
        async with administration(bootstrap) as admin:
            await admin.create_partitions({calls_topic: NewPartitions(8)})
        await until(
            lambda: len(position_of(stream.last_id or "").offsets) == 8, "the reader to see the partitions"
        )
    settings = PublisherSettings(kafka_bootstrap=bootstrap, calls_topic=calls_topic)
    async with topic_writer(settings) as writer:
        calls = [await Told(writer).changed(acme.id) for _ in range(30)]
    async with reading(api.client, acme.key, begins) as resumed:
        heard = await resumed.until(31)
        assert {each.data["id"] for each in heard[1:]} == {str(call) for call in calls}


async def test_a_slow_reader_is_ended_alone(
    start_api: StartApi, told: Told, database: Connection, monitor: Monitor
) -> None:
    acme = await seed.tenant(database)
    api = await start_api(api_stream_queue_records="5", monitor_port=str(monitor.port))
    long = "a" * 500_000
    async with (
        api.client.stream("GET", "/calls/stream", headers=bearing(acme.key)) as slow,
        reading(api.client, acme.key) as fast,
    ):
        assert slow.status_code == 200
        sent = 0

        async def is_ended() -> bool:
            nonlocal sent
            await told.changed(acme.id, transcript=long, latency_ms=sent)
            sent += 1
            await fast.until(sent)
            return await monitor.value("callfold_api_streams") == 1

        await until(is_ended, "the slow stream to end")
        assert [each.data["latency_ms"] for each in fast.heard] == list(range(sent))
        assert await monitor.value("callfold_api_stream_ends_total", reason="slow") == 1
        assert (await monitor.value("callfold_api_stream_events_total", kind="changed") or 0) >= sent


async def test_streams_are_bounded_per_key_and_per_process(start_api: StartApi, database: Connection) -> None:
    acme = await seed.tenant(database)
    other = await seed.key(database, acme.id)
    api = await start_api(api_streams_per_key="2", api_streams="3")
    async with (
        reading(api.client, acme.key),
        reading(api.client, acme.key) as second,
        reading(api.client, other),
    ):
        assert await refusal(api.client, acme.key) == (
            429,
            "TOO_MANY_STREAMS",
            "These credentials already have 2 open streams; close one of them, then retry.",
        )
        busy = await api.client.get("/calls/stream", headers=bearing(other))
        assert (busy.status_code, busy.json()["code"]) == (503, "STREAMS_BUSY")
        assert busy.headers["retry-after"] == "5"
        assert not second.is_over

    async def is_free() -> bool:
        async with api.client.stream("GET", "/calls/stream", headers=bearing(acme.key)) as answer:
            return answer.status_code == 200

    await until(is_free, "the closed streams to be noticed")


async def test_a_revoked_key_ends_its_streams_alone(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme = await seed.tenant(database)
    other = await seed.key(database, acme.id)
    api = await start_api()
    async with reading(api.client, acme.key) as revoked, reading(api.client, other) as stream:
        await database.execute(
            "UPDATE api_keys SET revoked_at = now() WHERE key_hash = $1", key_hash(acme.key)
        )
        await revoked.until_over()
        await told.changed(acme.id)
        await stream.until(1)
        assert revoked.heard == []
    assert (await refusal(api.client, acme.key, **{"Last-Event-ID": revoked.last_id or ""}))[0] == 401


async def test_a_member_who_is_removed_ends_with_the_membership(
    start_api: StartApi, told: Told, database: Connection
) -> None:
    acme, globex = await seed.tenant(database), await seed.tenant(database)
    user_id = uuid4()
    await database.executemany(
        "INSERT INTO members (organization_id, user_id, joined_at) VALUES ($1, $2, now())",
        [(acme.id, user_id), (globex.id, user_id)],
    )
    api = await start_api(jwt_secret=SECRET)
    expires = int(time.time()) + 600
    token = jwt.encode({"sub": str(user_id), "aud": "authenticated", "exp": expires}, SECRET, "HS256")
    async with reading(api.client, token) as stream:
        await told.changed(acme.id)
        await told.changed(globex.id)
        ((_, call, _),) = await stream.until(1)
        await database.execute(
            "DELETE FROM members WHERE organization_id = $1", UUID(call["organization_id"])
        )
        await stream.until_over()
        assert len(stream.heard) == 1


async def test_a_token_that_expires_ends_its_stream(start_api: StartApi, database: Connection) -> None:
    acme = await seed.tenant(database)
    user_id = uuid4()
    await database.execute(
        "INSERT INTO members (organization_id, user_id, joined_at) VALUES ($1, $2, now())", acme.id, user_id
    )
    api = await start_api(jwt_secret=SECRET)
    expires = int(time.time()) - LEEWAY_SECONDS + 4
    token = jwt.encode({"sub": str(user_id), "aud": "authenticated", "exp": expires}, SECRET, "HS256")
    async with reading(api.client, token) as stream:
        await stream.until_over()
    assert (await refusal(api.client, token))[0] == 401


async def test_a_stop_ends_streams_at_once(start_api: StartApi, told: Told, database: Connection) -> None:
    acme = await seed.tenant(database)
    api = await start_api()
    async with reading(api.client, acme.key) as stream, reading(api.client, acme.key):
        await told.changed(acme.id)
        await stream.until(1)
        began = time.monotonic()
        api.service.send(signal.SIGTERM)
        await stream.until_over()
        await until(lambda: not api.service.running, "the process to end")
        assert time.monotonic() - began < 3
        assert not api.service.said("Traceback")


async def test_an_opening_counts_once_as_a_request(
    start_api: StartApi, told: Told, database: Connection, monitor: Monitor
) -> None:
    acme = await seed.tenant(database)
    await database.execute("UPDATE organizations SET plan = 'few'")
    api = await start_api(plans="few=2/day", monitor_port=str(monitor.port))
    async with reading(api.client, acme.key) as stream:
        begins = stream.last_id
        await until(lambda: stream.last_id != begins, "the credentials to be checked again")
        assert await monitor.value("callfold_api_requests_in_progress") == 0
        assert (
            await monitor.value(
                "callfold_api_requests_total", route="/calls/stream", method="GET", status="200"
            )
            == 1
        )
        answer = await api.client.get("/calls", headers=bearing(acme.key))
        assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (200, "0")
        status, code, _ = await refusal(api.client, acme.key)
        assert (status, code) == (429, "RATE_LIMIT_EXCEEDED")
        await told.changed(acme.id)
        await stream.until(1)

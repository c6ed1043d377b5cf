"""The stream of changes, from real API processes, a real broker and a real database."""

from uuid import UUID, uuid4

import httpx
import pytest

from shared.database.connection import Connection
from shared.store.delete import delete
from tests.publisher.conftest import StartPublisher
from tests.stream.conftest import StartApi, Told
from tests.support import seed
from tests.support.api import bearing
from tests.support.event_streams import reading
from tests.support.processes import until


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
    for path in ("/calls/stream", "/v1/calls/stream"):
        async with reading(api.client, acme.key, path=path) as stream:
            call_id = await seed.call(database, acme, status="ringing", from_number="+4930901820")
            await until(lambda: stream.states(call_id), "the call to arrive")
            (listed,) = [
                call
                for call in (await api.client.get("/calls", headers=bearing(acme.key))).json()["data"]
                if call["id"] == str(call_id)
            ]
            assert stream.states(call_id)[-1] == listed
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
        await told.deleted(acme.id, test_call, b"test")
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

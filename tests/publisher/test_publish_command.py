"""`callfold publish`, with publishers that run beside it."""

from shared.database import roles
from shared.database.connection import Connection
from tests.publisher.conftest import StartPublisher
from tests.support.command_line import callfold
from tests.support.events import event
from tests.support.processes import until
from tests.support.roles import as_role
from tests.support.storing import stored
from tests.support.topic_of_calls import topic_of_calls


async def test_without_a_publisher_there_is_nothing_to_steer(database_url: str) -> None:
    done = await callfold("publish", database_url=as_role(database_url, roles.OPERATOR))
    assert done.status == 1
    assert "No publisher has started" in done.failure
    done = await callfold("publish", "--all", "--stop", database_url=as_role(database_url, roles.OPERATOR))
    assert "--all cannot be combined with --stop" in done.failure


async def test_a_lost_topic_is_published_again(
    start_publisher: StartPublisher,
    bootstrap: str,
    calls_topic: str,
    database_url: str,
    database: Connection,
) -> None:
    await stored(database, event("call.initiated"))
    start_publisher()
    async with topic_of_calls(bootstrap, calls_topic) as topic:
        await topic.until_equal(database)
        told = len(topic.told)
        done = await callfold("publish", "--all", database_url=as_role(database_url, roles.OPERATOR))
        assert done.status == 0, done.failure
        assert "All calls are being published" in done.output

        async def again() -> bool:
            await topic.read()
            return len(topic.told) > told

        await until(again, "the call to be published again")


async def test_publishing_is_ended_only_after_every_publisher(
    start_publisher: StartPublisher, database_url: str, database: Connection
) -> None:
    publisher = start_publisher()
    await until(
        lambda: database.fetchval("SELECT leader FROM publisher WHERE all_after_call IS NULL"),
        "a publisher to lead",
    )
    done = await callfold("publish", database_url=as_role(database_url, roles.OPERATOR))
    assert "A publisher leads." in done.output
    done = await callfold("publish", "--stop", database_url=as_role(database_url, roles.OPERATOR))
    assert done.status == 1
    assert "Stop every publisher first." in done.failure

    assert publisher.stop() == 0
    await stored(database, event("call.initiated"))
    waits = await callfold("publish", "--json", database_url=as_role(database_url, roles.OPERATOR))
    assert (waits.json["leader"], waits.json["changes_waiting"]) == (None, 1)
    done = await callfold("publish", "--stop", database_url=as_role(database_url, roles.OPERATOR))
    assert done.status == 0, done.failure
    await stored(database, event("call.ringing", id="evt_2"))
    assert await database.fetchval("SELECT count(*) FROM call_changes") == 0

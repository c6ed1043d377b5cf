"""The last deliveries of a source, from its topic or from that of deliveries, as ingest would read them."""

from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from services.ops.admin.models import LastDeliveries, LastDelivery
from services.ops.sources.last_deliveries import DELIVERIES_MAX, RECORDS_EXAMINED_MAX
from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from tests.support.processes import Record, publish
from tests.support.sources import add_source, deliveries, sample

BUSY: Final = sample("twilio/outbound_busy")
STARTED: Final = sample("kamailio/hook_dialog_start")


@pytest.fixture
async def deliveries_topic(bootstrap: str, topic: str) -> str:
    """The topic of deliveries of the application."""
    name = topic.replace("events", "deliveries")
    await ensure_topic(bootstrap, name, 1)
    return name


async def asked(admin: httpx.AsyncClient, source_id: UUID) -> Any:
    """The last deliveries of a source, with exactly the fields of the models."""
    response = await admin.get(f"/admin/sources/{source_id}/deliveries")
    assert response.status_code == 200, response.text
    said = response.json()
    assert said.keys() == LastDeliveries.model_fields.keys()
    assert all(one.keys() == LastDelivery.model_fields.keys() for one in said["deliveries"])
    return said


def broken(record: Record) -> Record:
    """The same delivery with a body that its dialect cannot read."""
    key, _, headers = record
    return key, b"CallStatus=unheard-of", headers


async def test_sources_that_share_a_topic_each_have_their_own(
    admin: httpx.AsyncClient, database: Connection, bootstrap: str, deliveries_topic: str
) -> None:
    vendor, proxy = await add_source(database, BUSY), await add_source(database, STARTED)
    of_vendor, of_proxy = deliveries(vendor, [BUSY]), deliveries(proxy, [STARTED])
    await publish(bootstrap, deliveries_topic, [*of_vendor, *of_proxy, broken(of_vendor[0])])
    said = await asked(admin, vendor)
    assert (said["topic"], said["topic_exists"], said["records_examined"]) == (deliveries_topic, True, 3)
    refused, busy = said["deliveries"]
    assert (refused["events"], refused["offset"], refused["size_bytes"]) == ([], 2, 21)
    assert len(refused["reasons"]) == 1
    assert (busy["events"], busy["reasons"], busy["waiting"]) == (["call.failed"], [], 0)
    assert [one["offset"] for one in (await asked(admin, proxy))["deliveries"]] == [1]


async def test_a_source_with_a_topic_of_its_own(
    admin: httpx.AsyncClient, database: Connection, bootstrap: str
) -> None:
    topic = f"proxy-{uuid4()}"
    source_id = await add_source(database, STARTED, topic=topic)
    assert (await asked(admin, source_id))["topic_exists"] is False
    await ensure_topic(bootstrap, topic, 2)
    assert (await asked(admin, source_id))["deliveries"] == []
    await publish(bootstrap, topic, [(None, STARTED.delivery.body, ())])
    said = await asked(admin, source_id)
    assert (said["topic"], said["records_examined"]) == (topic, 1)
    assert len(said["deliveries"]) == 1


async def test_the_newest_of_many_are_read(
    admin: httpx.AsyncClient, database: Connection, bootstrap: str, deliveries_topic: str
) -> None:
    rare, busy = await add_source(database, BUSY), await add_source(database, BUSY)
    often = deliveries(busy, [BUSY])
    await publish(bootstrap, deliveries_topic, [*deliveries(rare, [BUSY]), *often * RECORDS_EXAMINED_MAX])
    said = await asked(admin, busy)
    assert len(said["deliveries"]) == DELIVERIES_MAX == said["records_examined"]
    assert said["deliveries"][0]["offset"] == RECORDS_EXAMINED_MAX
    said = await asked(admin, rare)
    assert (said["deliveries"], said["records_examined"]) == ([], RECORDS_EXAMINED_MAX)


async def test_an_unknown_source_is_told(admin: httpx.AsyncClient) -> None:
    response = await admin.get(f"/admin/sources/{uuid4()}/deliveries")
    assert (response.status_code, response.json()["error"]) == (404, "There is no source with this id.")

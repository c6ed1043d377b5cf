"""The routes of the admin API, on a real database and a real broker."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, SecretStr

from services.ops.addresses import Place
from services.ops.admin import models
from services.ops.admin.app import create_admin_app
from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from shared.monitoring.monitor import Probes
from shared.settings.ingest import IngestSettings
from shared.store.quarantine import BadRecord
from tests.admin.conftest import NOW, TOKEN, no_reason
from tests.support import seed
from tests.support.events import NOON, event, value
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import publish
from tests.support.storing import record, store, stored

STRANGER = UUID(int=9)


async def quarantined(database: Connection, *values: bytes, reason: str = "it is not JSON") -> list[str]:
    """Quarantines records with these values, a second apart. Returns their ids, the newest first."""
    bad = [BadRecord(record(one, offset=n), reason) for n, one in enumerate(values)]
    await store(database, [], bad, now=NOON)
    for n, one in enumerate(bad):
        await database.execute(
            "UPDATE quarantined_records SET quarantined_at = $2 WHERE id = $1",
            one.id,
            NOW + timedelta(seconds=n),
        )
    return [str(one.id) for one in reversed(bad)]


async def answered(client: httpx.AsyncClient, path: str, model: type[BaseModel], **query: Any) -> Any:
    """The answer to a GET, which must have exactly the fields of the model."""
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    said = response.json()
    assert model.model_validate(said).model_dump(mode="json").keys() == said.keys()
    for one in said.get("data", ()):
        entry = model.model_fields["data"].annotation.__args__[0]  # type: ignore[union-attr]
        assert entry.model_fields.keys() == one.keys()
    return said


async def test_the_lag_is_told_per_topic_and_partition(
    admin: httpx.AsyncClient, pipeline: Pipeline, database: Connection
) -> None:
    await pipeline.publish(calls(2))
    await stored(database, event("call.initiated"))
    deliveries = pipeline.topic.replace("events", "deliveries")
    await ensure_topic(pipeline.bootstrap, deliveries, 2)
    await publish(pipeline.bootstrap, deliveries, [b"{}"])
    await database.execute("INSERT INTO publisher DEFAULT VALUES")
    await stored(database, event("call.ringing", id="2"))
    for topic in (None, "topic-that-is-missing"):
        await database.execute(
            "INSERT INTO sources (id, name, dialect, topic) VALUES ($1, $2, 'twilio', $3)",
            uuid4(),
            str(topic),
            topic,
        )
    said = await answered(admin, "/admin/lag", models.Lag)
    events, of_deliveries, missing = said["topics"]
    assert (events["topic"], events["kind"], events["lag"]) == (pipeline.topic, "events", 8)
    assert [one["lag"] for one in events["partitions"]] == [one.lag for one in await pipeline.lags()]
    assert (of_deliveries["topic"], of_deliveries["kind"]) == (deliveries, "deliveries")
    assert (of_deliveries["lag"], len(of_deliveries["partitions"])) == (1, 2)
    assert missing == {
        "topic": "topic-that-is-missing",
        "kind": "source",
        "exists": False,
        "lag": 0,
        "partitions": [],
    }
    assert said["waiting_deltas"] == 3
    assert 0 <= said["oldest_delta_seconds"] < 60
    assert (said["outbox_changes"], said["outbox_is_more"]) == (1, False)
    assert said["at"] == "2026-11-24T12:00:00Z"


async def test_the_quarantine_is_listed_page_by_page(admin: httpx.AsyncClient, database: Connection) -> None:
    newest_first = await quarantined(database, *(b"{" for _ in range(5)))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await answered(admin, "/admin/quarantine", models.QuarantinedRecords, limit=2, **cursor)
        seen += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == newest_first
    of_topic = await answered(admin, "/admin/quarantine", models.QuarantinedRecords, topic="other")
    assert of_topic == {"data": [], "next_cursor": None}
    by_reason = await answered(admin, "/admin/quarantine", models.QuarantinedRecords, reason="not JSON")
    assert len(by_reason["data"]) == 5
    of_nobody = await answered(
        admin, "/admin/quarantine", models.QuarantinedRecords, organization_id=str(STRANGER)
    )
    assert of_nobody["data"] == []


async def test_records_of_one_instant_are_all_listed(admin: httpx.AsyncClient, database: Connection) -> None:
    ids = await quarantined(database, *(b"{" for _ in range(5)))
    await database.execute("UPDATE quarantined_records SET quarantined_at = $1", NOW)
    first = await answered(admin, "/admin/quarantine", models.QuarantinedRecords, limit=3)
    second = await answered(
        admin, "/admin/quarantine", models.QuarantinedRecords, limit=3, cursor=first["next_cursor"]
    )
    assert [one["id"] for one in first["data"] + second["data"]] == sorted(ids)


async def test_reasons_are_counted_the_most_frequent_first(
    admin: httpx.AsyncClient, database: Connection
) -> None:
    await quarantined(database, b"{", b"[")
    await store(database, [], [BadRecord(record(b"x", offset=9), "id: is missing")], now=NOON)
    said = await answered(admin, "/admin/quarantine/reasons", models.QuarantineReasons)
    assert [(one["records"], one["topic"], one["reason"]) for one in said["data"]] == [
        (2, "topic", "it is not JSON"),
        (1, "topic", "id: is missing"),
    ]
    assert (
        len((await answered(admin, "/admin/quarantine/reasons", models.QuarantineReasons, limit=1))["data"])
        == 1
    )


async def test_a_record_is_shown_as_a_person_reads_it(admin: httpx.AsyncClient, database: Connection) -> None:
    whole, long = (await quarantined(database, b"[" * 100_000, b'{"id": "evt_1"}'))[:2]
    shown = await answered(admin, f"/admin/quarantine/{whole}", models.QuarantinedContent)
    assert shown["value"] == {"size": 15, "text": '{\n  "id": "evt_1"\n}', "is_whole": True}
    assert shown["key"] == {"size": 3, "text": "key", "is_whole": True}
    assert shown["headers"] == [{"name": "name", "value": {"size": 4, "text": "said", "is_whole": True}}]
    assert (shown["partition"], shown["offset"], shown["waits"]) == (0, 1, False)
    shown = await answered(admin, f"/admin/quarantine/{long}", models.QuarantinedContent)
    assert (shown["value"]["size"], shown["value"]["is_whole"]) == (100_000, False)
    assert len(shown["value"]["text"]) < 20_000


async def test_records_are_retried_with_a_line_in_the_audit_log(
    admin: httpx.AsyncClient, database: Connection
) -> None:
    ids = await quarantined(database, b"{", value("call.initiated", organization_id=STRANGER))
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", STRANGER)
    response = await admin.post("/admin/quarantine/redrive", json={"ids": [*ids, str(uuid4())]})
    done = response.json()
    (reason,) = done.pop("reasons")
    assert done == {"retried": 2, "accepted": 1, "still_quarantined": 1}
    assert (reason["records"], reason["topic"]) == (1, "topic")
    assert reason["reason"].startswith("the value is not JSON")
    assert await database.fetchval("SELECT count(*) FROM calls") == 1
    log = await database.fetch("SELECT actor, action, details FROM audit_log")
    assert [tuple(row) for row in log] == [("admin API", "quarantined records tried again", "3 ids")]


async def test_records_are_discarded_with_a_line_for_each(
    admin: httpx.AsyncClient, database: Connection
) -> None:
    ids = await quarantined(database, b"{", b"[", b"x")
    response = await admin.post("/admin/quarantine/discard", json={"ids": ids[:2]})
    assert response.json() == {"discarded": 2}
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 1
    log = await database.fetch("SELECT actor, action, subject FROM audit_log ORDER BY subject")
    assert [tuple(row) for row in log] == [
        ("admin API", "quarantined record discarded", id_) for id_ in sorted(ids[:2])
    ]


async def test_sources_are_listed_without_secrets(admin: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    hooked, of_topic = uuid4(), uuid4()
    await database.execute(
        "INSERT INTO sources (id, name, dialect, serves, secrets, settings) "
        "VALUES ($1, 'a', 'twilio', $2, 'secret', '{\"account\": \"secret\"}')",
        hooked,
        acme.id,
    )
    await database.execute(
        "INSERT INTO sources (id, name, dialect, organizations, topic, enabled) "
        "VALUES ($1, 'b', 'homer', $2, 'homer-records', false)",
        of_topic,
        f'{{"secret-value": "{acme.id}"}}',
    )
    await quarantined(database, b"{", b"[")
    await database.execute("UPDATE quarantined_records SET source_id = $1", hooked)
    await database.execute("UPDATE quarantined_records SET waits_for = 'c' WHERE \"offset\" = 0")
    said = await answered(admin, "/admin/sources", models.Sources)
    first, second = said["data"]
    assert (first["name"], first["kind"], first["topic"]) == ("a", "http", None)
    assert first["hook_path"].endswith(str(hooked))
    assert (first["organization_name"], first["organizations_mapped"]) == ("Acme", 0)
    assert (first["waiting_records"], first["quarantined_records"]) == (1, 1)
    assert (second["kind"], second["topic"], second["hook_path"]) == ("kafka", "homer-records", None)
    assert (second["enabled"], second["organizations_mapped"]) == (False, 1)
    assert "secret" not in str(said)


async def test_webhooks_are_listed_with_their_hosts_only(
    admin: httpx.AsyncClient, database: Connection
) -> None:
    for n in range(3):
        webhook_id = await seed.webhook(database, (await seed.tenant(database)).id)
        await database.execute(
            "UPDATE webhooks SET url = 'https://user:secret@hooks.example.com:8443/secret?key=secret', "
            "created_at = $2 WHERE id = $1",
            webhook_id,
            NOW + timedelta(seconds=n),
        )
    await database.execute(
        "UPDATE webhook_deliveries SET due_at = NULL, attempted_at = $2 WHERE webhook_id = $1",
        webhook_id,
        NOW,
    )
    await database.execute(
        "UPDATE webhooks SET enabled = false, disabled_reason = 'It failed for 5 days.' WHERE id = $1",
        webhook_id,
    )
    page = await answered(admin, "/admin/webhooks", models.AdminWebhooks, limit=2)
    failed, waiting = page["data"]
    assert (failed["id"], failed["host"]) == (str(webhook_id), "hooks.example.com")
    assert (failed["organization_name"], failed["enabled"]) == ("Acme", False)
    assert failed["disabled_reason"] == "It failed for 5 days."
    assert (failed["waiting_deliveries"], failed["failed_deliveries"]) == (0, 1)
    assert (failed["last_failure_at"], failed["last_failure_status"]) == ("2026-11-24T12:00:00Z", 500)
    assert (waiting["waiting_deliveries"], waiting["failed_deliveries"]) == (1, 0)
    rest = await answered(admin, "/admin/webhooks", models.AdminWebhooks, cursor=page["next_cursor"])
    assert (len(rest["data"]), rest["next_cursor"]) == (1, None)
    assert "secret" not in str(page)


@pytest.mark.parametrize("path", ["/admin/quarantine", "/admin/sources", "/admin/proofs", "/admin/lag"])
async def test_without_a_database_the_sentence_says_why(path: str) -> None:
    answer = await _asked(path, Place("postgresql://callfold_operator:secret@127.0.0.1:1/callfold"), "x:1")
    assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert (
        answer.json()["error"]
        == "PostgreSQL can't be reached at callfold on 127.0.0.1:1: connection refused."
    )
    assert answer.headers["Retry-After"] == "1"


async def test_without_kafka_only_the_lag_is_unavailable(database_url: str) -> None:
    answer = await _asked("/admin/lag", Place(database_url), "127.0.0.1:1")
    assert (answer.status_code, answer.json()["code"]) == (503, "KAFKA_UNAVAILABLE")
    assert answer.json()["error"].startswith("Kafka can't be reached at 127.0.0.1:1: ")
    assert (await _asked("/admin/quarantine", Place(database_url), "127.0.0.1:1")).status_code == 200


async def _asked(path: str, place: Place, bootstrap: str) -> httpx.Response:
    probes = Probes(CollectorRegistry(), no_reason)
    app: FastAPI = create_admin_app(
        SecretStr(TOKEN), place, IngestSettings(kafka_bootstrap=bootstrap), probes
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://monitor") as client:
        return await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})

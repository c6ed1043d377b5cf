"""The routes of webhooks: each organization and mode manages its own."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from shared.database.connection import Connection
from shared.secret_box import new_key
from tests.support import seed
from tests.support.api import bearing, serving

URL = "https://example.com/callfold"


async def test_a_webhook_from_its_creation_to_its_deletion(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    as_acme = bearing(acme.key)
    async with serving(database_url, clock=lambda: datetime.now(UTC), secrets_key=new_key()) as api:
        made = await api.post(
            "/webhooks", json={"url": URL, "types": ["call.failed"], "description": "CRM"}, headers=as_acme
        )
        assert made.status_code == 201, made.text
        secret, webhook = made.json().pop("secret"), made.json()
        assert secret.startswith("whsec_")
        path = f"/webhooks/{webhook['id']}"

        shown = (await api.get(path, headers=as_acme)).json()
        assert "secret" not in shown
        assert (shown["url"], shown["types"], shown["livemode"], shown["enabled"]) == (
            URL,
            ["call.failed"],
            True,
            True,
        )
        assert (await api.get("/webhooks", headers=as_acme)).json() == {"data": [shown]}

        changed = await api.patch(path, json={"types": [], "enabled": False}, headers=as_acme)
        assert (changed.json()["types"], changed.json()["enabled"]) == ([], False)
        refused = await api.post(f"{path}/test", headers=as_acme)
        assert (refused.status_code, refused.json()["code"]) == (409, "WEBHOOK_DISABLED")
        await api.patch(path, json={"enabled": True}, headers=as_acme)

        sent = await api.post(f"{path}/test", headers=as_acme)
        assert (sent.status_code, sent.json()["state"], sent.json()["type"]) == (
            202,
            "waiting",
            "webhook.test",
        )
        listed = (await api.get(f"{path}/deliveries", headers=as_acme)).json()
        assert listed == {"data": [sent.json()], "next_before": None}

        rotated = (await api.post(f"{path}/rotate", headers=as_acme)).json()
        assert rotated["secret"] != secret
        assert rotated["previous_secret_until"] is not None

        assert (await api.delete(path, headers=as_acme)).status_code == 204
        assert (await api.get(path, headers=as_acme)).status_code == 404
    actor = await database.fetchval("SELECT DISTINCT actor FROM audit_log WHERE action LIKE 'webhook%'")
    assert actor.startswith("API key ")


async def test_deliveries_in_pages_and_again(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    as_acme = bearing(acme.key)
    async with serving(database_url, secrets_key=new_key()) as api:
        id_ = (await api.post("/webhooks", json={"url": URL}, headers=as_acme)).json()["id"]
        ids = [(await api.post(f"/webhooks/{id_}/test", headers=as_acme)).json()["id"] for _ in range(3)]
        await database.execute(
            "UPDATE webhook_deliveries SET due_at = NULL, attempts = 8, error = 'x' WHERE id = $1", ids[1]
        )
        path = f"/webhooks/{id_}/deliveries"
        first = (await api.get(path, params={"limit": 2}, headers=as_acme)).json()
        assert [one["id"] for one in first["data"]] == [ids[2], ids[1]]
        rest = (
            await api.get(path, params={"limit": 2, "before": first["next_before"]}, headers=as_acme)
        ).json()
        assert [one["id"] for one in rest["data"]] == [ids[0]]
        assert rest["next_before"] is None
        failed = (await api.get(path, params={"state": "failed"}, headers=as_acme)).json()["data"]
        assert [one["id"] for one in failed] == [ids[1]]

        again = await api.post(f"{path}/{ids[1]}/resend", headers=as_acme)
        assert (again.status_code, again.json()["state"], again.json()["attempts"]) == (202, "waiting", 0)
        assert (await api.post(f"{path}/999999/resend", headers=as_acme)).status_code == 404


async def test_others_see_nothing_of_it(database_url: str, database: Connection) -> None:
    acme, neighbour = await seed.tenant(database), await seed.tenant(database)
    async with serving(database_url, secrets_key=new_key()) as api:
        made = (await api.post("/webhooks", json={"url": URL}, headers=bearing(acme.key))).json()
        path = f"/webhooks/{made['id']}"
        for other in (neighbour.key, acme.test_key):
            headers = bearing(other)
            assert (await api.get("/webhooks", headers=headers)).json() == {"data": []}
            answers = [
                await api.get(path, headers=headers),
                await api.patch(path, json={"enabled": False}, headers=headers),
                await api.delete(path, headers=headers),
                await api.post(f"{path}/rotate", headers=headers),
                await api.post(f"{path}/test", headers=headers),
                await api.get(f"{path}/deliveries", headers=headers),
                await api.post(f"{path}/deliveries/1/resend", headers=headers),
            ]
            assert {answer.status_code for answer in answers} == {404}
    assert await database.fetchval("SELECT enabled FROM webhooks")


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"url": "http://example.com"}, "url", "must begin with https://"),
        (
            {"url": "https://user:word@example.com"},
            "url",
            "must be a URL such as https://example.com/callfold: with a host name",
        ),
        ({}, "url", "must be given"),
        ({"url": URL, "typos": []}, "typos", "is not a field of this body"),
        ({"url": URL, "types": ["call.exploded"]}, "types", "must be 'call.initiated', 'call.ringing'"),
        ({"url": URL, "description": "x" * 201}, "description", "must have at most 200 characters"),
        ({"url": 5}, "url", "must be a text"),
        ([], "body", "must be a JSON object"),
    ],
)
async def test_what_a_body_must_be(
    database_url: str, database: Connection, body: Any, field: str, rule: str
) -> None:
    acme = await seed.tenant(database)
    async with serving(database_url, secrets_key=new_key()) as api:
        refused = await api.post("/webhooks", json=body, headers=bearing(acme.key))
    assert refused.status_code == 400, refused.text
    assert refused.json()["code"] == "INVALID_PARAMETER"
    assert refused.json()["error"].startswith(f"{field} {rule}"), refused.json()


async def test_a_body_that_is_no_json(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    json = {"Content-Type": "application/json"}
    async with serving(database_url, secrets_key=new_key()) as api:
        for content, headers in ((b"{", json), (b"\xff", json), (b'{"url": "x"}', {}), (b"", json)):
            refused = await api.post("/webhooks", content=content, headers={**bearing(acme.key), **headers})
            assert refused.status_code == 400, refused.text
            assert refused.json()["code"] == "INVALID_PARAMETER"
            assert refused.json()["details"]["field"] == "body"


async def test_too_many_and_no_key_for_secrets(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    async with serving(database_url, secrets_key=new_key()) as api:
        for _ in range(20):
            made = await api.post("/webhooks", json={"url": URL}, headers=bearing(acme.key))
            assert made.status_code == 201
        refused = await api.post("/webhooks", json={"url": URL}, headers=bearing(acme.key))
        assert (refused.status_code, refused.json()["code"]) == (409, "TOO_MANY_WEBHOOKS")
        other = await api.post("/webhooks", json={"url": URL}, headers=bearing(acme.test_key))
        assert other.status_code == 201
    async with serving(database_url) as api:
        refused = await api.post("/webhooks", json={"url": URL}, headers=bearing(acme.test_key))
        assert (refused.status_code, refused.json()["code"]) == (503, "SECRETS_UNAVAILABLE")
        missing = await api.get(f"/webhooks/{uuid4()}", headers=bearing(acme.key))
        assert missing.status_code == 404

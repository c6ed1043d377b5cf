"""Credentials: which are accepted, and which data they can reach."""

from uuid import uuid4

import httpx

from shared.api_keys import key_hash, key_hint, key_livemode, new_key
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get


def test_a_key_says_its_mode_and_is_known_by_its_hash() -> None:
    live, test = new_key(True), new_key(False)

    assert live.startswith("kros_live_")
    assert test.startswith("kros_test_")
    assert (len(live), len(test)) == (53, 53)
    assert new_key(True) != live
    assert [key_livemode(key) for key in (live, test, "kros_else_x", "")] == [True, False, None, None]
    assert len(key_hash(live)) == 32
    assert key_hint("kros_live_abcdefghijklmnopqrstuvwxyz") == "kros_live_ab…wxyz"


async def test_both_headers_take_a_key(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    let_in: list[dict[str, str]] = [
        {"Authorization": f"Bearer {acme.key}"},
        {"Authorization": f"bearer {acme.key}"},
        {"x-api-key": acme.key},
        {"X-API-Key": acme.test_key},
        {"x-api-key": acme.key, "Authorization": f"Bearer {acme.key}"},
        {"x-api-key": acme.key, "x-organization-id": str(acme.id)},
        {"x-api-key": acme.key, "x-organization-id": str(acme.id).upper()},
    ]

    for headers in let_in:
        assert (await api.get("/calls", headers=headers)).status_code == 200, headers


async def test_who_is_not_let_in(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    revoked = await seed.key(database, acme.id, True, revoked=True)
    nobodys = await seed.key(database, uuid4(), True)
    # Rows that the key commands never write: the mode of the prefix differs from that of the row.
    says_live = await seed.key(database, acme.id, False, text=new_key(True))
    says_test = await seed.key(database, acme.id, True, text=new_key(False))
    refused: list[tuple[dict[str, str], str]] = [
        ({}, "The request has no API key"),
        ({"x-api-key": ""}, "The request has no API key"),
        ({"Authorization": ""}, "The request has no API key"),
        ({"Authorization": "Bearer"}, "The request has no API key"),
        ({"Authorization": "Bearer "}, "The request has no API key"),
        ({"Authorization": acme.key}, "The request has no API key"),
        ({"Authorization": f"Basic {acme.key}"}, "The request has no API key"),
        ({"Authorization": f"Bearer  x {acme.key}"}, "not an API key"),
        ({"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}, "not an API key"),
        ({"x-api-key": "kros_"}, "not an API key"),
        ({"x-api-key": "KROS_LIVE_" + acme.key[10:]}, "not an API key"),
        ({"x-api-key": "kros_live_"}, "unknown, expired or revoked"),
        ({"x-api-key": new_key(True)}, "unknown, expired or revoked"),
        ({"x-api-key": acme.key + "x"}, "unknown, expired or revoked"),
        ({"x-api-key": acme.key[:-1]}, "unknown, expired or revoked"),
        ({"x-api-key": "kros_live_" + acme.test_key[10:]}, "unknown, expired or revoked"),
        ({"x-api-key": "kros_live_' OR 1=1 --"}, "unknown, expired or revoked"),
        ({"x-api-key": "kros_live_" + "x" * 5000}, "unknown, expired or revoked"),
        ({"x-api-key": revoked}, "unknown, expired or revoked"),
        ({"x-api-key": nobodys}, "unknown, expired or revoked"),
        ({"x-api-key": says_live}, "unknown, expired or revoked"),
        ({"x-api-key": says_test}, "unknown, expired or revoked"),
        ({"x-api-key": acme.key, "Authorization": f"Bearer {acme.test_key}"}, "different values"),
        # The credentials are checked before the parameters.
        ({"x-organization-id": "nonsense"}, "The request has no API key"),
    ]

    for headers, sentence in refused:
        for path in ("/calls?page=0", f"/calls/{uuid4()}"):
            answer = await api.get(path, headers=headers)
            body = answer.json()
            assert (answer.status_code, body["code"]) == (401, "UNAUTHORIZED"), headers
            assert sentence in body["error"], headers
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert set(body) == {"error", "code", "details"}


async def test_a_key_that_is_not_ascii_is_unknown(api: httpx.AsyncClient) -> None:
    answer = await api.get("/calls", headers=[(b"x-api-key", b"kros_live_\xff\xfe")])

    assert answer.status_code == 401


async def test_a_key_is_refused_from_the_moment_it_is_revoked(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await get(api, acme, "/calls")

    await database.execute("UPDATE api_keys SET revoked_at = now() WHERE key_hash = $1", key_hash(acme.key))

    assert (await api.get("/calls", headers=bearing(acme.key))).status_code == 401


async def test_an_organization_must_be_named_right(api: httpx.AsyncClient, database: Connection) -> None:
    acme, umbrella = await seed.tenant(database), await seed.tenant(database)
    expected: list[tuple[str, int, str]] = [
        (str(acme.id), 200, ""),
        (str(umbrella.id), 403, "FORBIDDEN"),
        (str(uuid4()), 403, "FORBIDDEN"),
        ("", 400, "INVALID_PARAMETER"),
        ("acme", 400, "INVALID_PARAMETER"),
        (f"{acme.id},{umbrella.id}", 400, "INVALID_PARAMETER"),
        (f"{acme.id}' OR 1=1 --", 400, "INVALID_PARAMETER"),
    ]

    for named, status, code in expected:
        answer = await api.get("/calls", headers={**bearing(acme.key), "x-organization-id": named})
        assert (answer.status_code, answer.json().get("code", "")) == (status, code), named
    assert answer.json()["details"] == {"field": "x-organization-id", "rule": "must be a UUID"}


async def test_tenants_stay_apart_in_every_position(api: httpx.AsyncClient, database: Connection) -> None:
    """Two organizations have a call with the same id, phone number and external id, and one has another
    call."""
    acme, umbrella = await seed.tenant(database), await seed.tenant(database)
    phone, shared_id = str(uuid4()), str(uuid4())
    for owner, text in ((acme, "acme's"), (umbrella, "umbrella's")):
        await seed.call(
            database, owner, call_id=shared_id, phone_number_id=phone, transcript=text, applied=owner is acme
        )
    umbrellas_own = await seed.call(database, umbrella, phone_number_id=phone)

    for query in ({}, {"phone_number_id": phone}, {"start_date": "2026-11-24"}, {"status": "completed"}):
        listed = await get(api, acme, "/calls", **query)
        assert [call["transcript"] for call in listed["data"]] == ["acme's"]
        assert listed["total"] == 1
        assert (await get(api, acme, "/calls", action="stats", **query))["total"] == 1
        trends = await get(api, acme, "/calls", action="trends", **query)
        assert sum(day["total"] for day in trends["data"]) == 1
    detail = await get(api, acme, f"/calls/{shared_id}")
    assert (detail["transcript"], len(detail["events"])) == ("acme's", 3)
    for ask in (api.get, api.delete):
        answer = await ask(f"/calls/{umbrellas_own}", headers=bearing(acme.key))
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")

    assert (await api.delete(f"/calls/{shared_id}", headers=bearing(acme.key))).status_code == 204

    assert (await get(api, acme, "/calls"))["total"] == 0
    assert (await get(api, umbrella, "/calls"))["total"] == 2
    assert len((await get(api, umbrella, f"/calls/{shared_id}"))["events"]) == 3
    assert await seed.recount(database) == {}

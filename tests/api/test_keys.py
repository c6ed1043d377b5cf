"""API keys: scopes, allowed networks, expiry, and the time of the last use."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from shared.api_keys import SCOPES, key_hash
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import NOW, bearing, get_as, serving
from tests.support.processes import until


async def test_a_key_works_until_it_expires(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    keys = {
        after: await seed.key(database, acme.id, expires_at=NOW + after)
        for after in (timedelta(microseconds=1), timedelta(0), -timedelta(days=1))
    }

    async with serving(database_url) as api:
        answers = {after: await api.get("/calls", headers=bearing(key)) for after, key in keys.items()}

    assert [answer.status_code for answer in answers.values()] == [200, 401, 401]
    assert "expired" in answers[timedelta(0)].json()["error"]


NETWORKS = ["203.0.113.0/24", "2001:db8::/32"]
PROXIES = "10.0.0.0/8, fd00::/8"


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        # Without a proxy, the peer is the client.
        ("203.0.113.9", [], 200),
        ("::ffff:203.0.113.9", [], 200),
        ("2001:db8::1", [], 200),
        ("198.51.100.9", [], 403),
        ("::1", [], 403),
        # A header from an untrusted peer is ignored.
        ("198.51.100.9", ["203.0.113.9"], 403),
        ("127.0.0.1", ["203.0.113.9"], 403),
        ("203.0.113.9", ["198.51.100.9"], 200),
        # A trusted proxy appends the address of its peer; earlier entries come from the client.
        ("10.0.0.1", ["203.0.113.9"], 200),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], 200),
        ("fd00::1", ["2001:db8::7"], 200),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.9"], 403),
        ("10.0.0.1", ["198.51.100.9, 203.0.113.9"], 200),
        ("10.0.0.1", ["198.51.100.9, 203.0.113.9, 10.0.0.2"], 200),
        ("10.0.0.1", ["198.51.100.9", "203.0.113.9", "10.0.0.2"], 200),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.9"], 403),
        # With a port, as some proxies send it.
        ("10.0.0.1", ["203.0.113.9:41000"], 200),
        ("10.0.0.1", ["[2001:db8::7]:41000"], 200),
        # No address in the networks.
        ("10.0.0.1", [], 403),
        ("10.0.0.1", [""], 403),
        ("10.0.0.1", ["unknown"], 403),
        ("10.0.0.1", ["203.0.113.9, unknown"], 403),
        ("10.0.0.1", ["203.0.113.999"], 403),
        ("10.0.0.1", ["203.0.113.9,"], 403),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], 403),
    ],
)
async def test_a_key_with_networks_works_from_there_alone(
    database_url: str, database: Connection, peer: str, forwarded: list[str], status: int
) -> None:
    acme = await seed.tenant(database)
    key = await seed.key(database, acme.id, networks=NETWORKS)
    headers = [("x-api-key", key), *(("X-Forwarded-For", hops) for hops in forwarded)]

    async with serving(database_url, peer=peer, api_trusted_proxies=PROXIES) as api:
        answer = await api.get("/calls", headers=headers)
        from_anywhere = await api.get("/calls", headers=[("x-api-key", acme.key), *headers[1:]])

    assert answer.status_code == status
    assert status == 200 or answer.json()["code"] == "FORBIDDEN"
    assert from_anywhere.status_code == 200


async def test_without_trusted_proxies_nobody_is_believed(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    key = await seed.key(database, acme.id, networks=NETWORKS)

    async with serving(database_url, peer="127.0.0.1") as api:
        answer = await api.get("/calls", headers={**bearing(key), "X-Forwarded-For": "203.0.113.9"})

    assert answer.status_code == 403
    assert (
        answer.json()["error"] == "This API key must not be used from 127.0.0.1: its networks are restricted."
    )


async def test_a_revoked_key_is_refused_by_every_process_at_once(
    database_url: str, database: Connection
) -> None:
    acme = await seed.tenant(database)

    async with serving(database_url) as one, serving(database_url) as other:
        for api in (one, other):
            await get_as(api, acme.key, "/calls")
        await database.execute("UPDATE api_keys SET revoked_at = now()")
        for api in (one, other):
            assert (await api.get("/calls", headers=bearing(acme.key))).status_code == 401


async def test_a_scope_that_lacks_is_named(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)
    key = await seed.key(database, acme.id, scopes=["calls:read"])

    async with serving(database_url) as api:
        await get_as(api, key, f"/calls/{call_id}")
        answer = await api.delete(f"/calls/{call_id}", headers=bearing(key))
        await get_as(api, key, f"/calls/{call_id}")

    assert answer.status_code == 403
    assert answer.json() == {
        "error": "These credentials lack the scope calls:write, which this request requires.",
        "code": "FORBIDDEN",
        "details": {},
    }


async def test_a_key_made_before_there_were_scopes_may_do_all(database: Connection) -> None:
    organization_id = uuid4()
    await database.execute(
        "INSERT INTO api_keys (organization_id, id, livemode, key_hash, hint) VALUES ($1, $1, true, '', '')",
        organization_id,
    )

    made = await database.fetchrow("SELECT * FROM api_keys")

    assert made is not None
    assert (made["scopes"], made["expires_at"], made["allowed_networks"]) == (list(SCOPES), None, None)


async def test_the_last_use_is_written_now_and_then(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    refused = await seed.key(database, acme.id, networks=NETWORKS)

    async with serving(database_url, api_key_use_interval_seconds=0.01) as api:
        await get_as(api, acme.key, "/calls")
        await api.get("/calls", headers=bearing(refused))
        await until(lambda: last_use(database, acme.key), "the last use to be written")

    assert await last_use(database, acme.key) == NOW
    assert await last_use(database, acme.test_key) is None
    assert await last_use(database, refused) is None


async def test_a_stop_writes_the_last_use_and_an_older_one_changes_nothing(
    database_url: str, database: Connection
) -> None:
    acme = await seed.tenant(database)

    for now in (NOW, NOW - timedelta(days=1)):
        async with serving(database_url, now=now, api_key_use_interval_seconds=3600) as api:
            await get_as(api, acme.key, "/calls")

        assert await last_use(database, acme.key) == NOW


async def test_uses_wait_for_a_database_that_refuses_them(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    await database.execute("ALTER FUNCTION callfold_keys_used RENAME TO away")

    async with serving(database_url, api_key_use_interval_seconds=0.01) as api:
        await get_as(api, acme.key, "/calls")
        refused = "SELECT xact_rollback > 3 FROM pg_stat_database WHERE datname = current_database()"
        await until(lambda: database.fetchval(refused), "some tries to fail")
        assert await last_use(database, acme.key) is None
        await database.execute("ALTER FUNCTION away RENAME TO callfold_keys_used")
        await until(lambda: last_use(database, acme.key), "the last use to be written")


async def test_nobody_may_look_for_credentials_without_the_right(
    database_url: str, database: Connection
) -> None:
    await database.execute("CREATE ROLE callfold_nobody LOGIN")
    nobody = await asyncpg.connect(database_url.replace("postgres@", "callfold_nobody@"))
    asked: list[tuple[str, list[Any]]] = [
        ("SELECT callfold_key($1)", [b""]),
        ("SELECT callfold_member($1, NULL)", [uuid4()]),
        ("SELECT callfold_keys_used($1, $2)", [[], []]),
    ]
    try:
        for statement, parameters in asked:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await nobody.execute(statement, *parameters)
    finally:
        await nobody.close()
        await database.execute("DROP ROLE callfold_nobody")


async def last_use(database: Connection, key: str) -> datetime | None:
    """When a key was last used, by the database."""
    at: datetime | None = await database.fetchval(
        "SELECT last_used_at FROM api_keys WHERE key_hash = $1", key_hash(key)
    )
    return at

"""Users' tokens: which are accepted, what users see, and forgeries."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import NOW, bearing, get_as, serving
from tests.support.seed import Tenant
from tests.support.token_issuer import (
    ISSUER,
    SECRET,
    TokenIssuer,
    claims,
    new_rsa_key,
    sign_with_secret,
    token_issuer,
)

ANNA = UUID("7d1f7a52-95f4-4f0e-8d5c-1c8a7b1f3a10")


@pytest.fixture
def issuer() -> Iterator[TokenIssuer]:
    with token_issuer() as running:
        yield running


@pytest.fixture
async def acme(database: Connection) -> Tenant:
    """An organization with Anna as its member, a live call and a test call."""
    tenant = await seed.tenant(database)
    await join(database, tenant, ANNA)
    await seed.call(database, tenant)
    await seed.call(database, tenant, livemode=False)
    return tenant


@pytest.fixture
async def api(database_url: str, issuer: TokenIssuer) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_users(database_url, issuer) as client:
        yield client


def serving_users(
    database_url: str, issuer: TokenIssuer, **more: Any
) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """An API that accepts tokens of both kinds."""
    return serving(database_url, jwt_secret=SECRET, jwt_jwks_url=issuer.url, jwt_issuer=ISSUER, **more)


async def join(database: Connection, tenant: Tenant, user_id: UUID, at: datetime = NOW) -> None:
    await database.execute(
        "INSERT INTO members (organization_id, user_id, joined_at) VALUES ($1, $2, $3)",
        tenant.id,
        user_id,
        at,
    )


def signed(issuer: TokenIssuer, key_id: str, payload: dict[str, Any]) -> str:
    return sign_with_secret(payload) if key_id == "secret" else issuer.token(key_id, payload)


@pytest.mark.parametrize("key_id", ["secret", "first", "curve"])
async def test_a_user_does_all_that_there_is_with_live_calls(
    api: httpx.AsyncClient, database: Connection, issuer: TokenIssuer, acme: Tenant, key_id: str
) -> None:
    token = signed(issuer, key_id, claims(ANNA))

    (call,) = (await get_as(api, token, "/calls"))["data"]
    assert call["livemode"] is True
    assert (await get_as(api, token, "/calls", action="stats"))["total"] == 1
    assert (await api.delete(f"/calls/{call['id']}", headers=bearing(token))).status_code == 204
    assert (await get_as(api, token, "/calls"))["total"] == 0
    assert await database.fetchval("SELECT actor FROM audit_log") == f"user {ANNA}"


async def test_a_user_sees_their_first_organization_or_the_one_they_name(
    api: httpx.AsyncClient, database: Connection, acme: Tenant
) -> None:
    umbrella, foreign = await seed.tenant(database), await seed.tenant(database)
    await join(database, umbrella, ANNA, NOW - timedelta(days=1))
    token = sign_with_secret(claims(ANNA))

    assert (await get_as(api, token, "/calls"))["total"] == 0
    for organization_id, status, code in (
        (str(umbrella.id), 200, ""),
        (str(acme.id), 200, ""),
        (str(foreign.id), 403, "FORBIDDEN"),
        (str(uuid4()), 403, "FORBIDDEN"),
        ("acme", 400, "INVALID_PARAMETER"),
    ):
        answer = await api.get("/calls", headers={**bearing(token), "x-organization-id": organization_id})
        assert (answer.status_code, answer.json().get("code", "")) == (status, code), organization_id
    named = await api.get("/calls", headers={**bearing(token), "x-organization-id": str(acme.id)})
    assert named.json()["total"] == 1


async def test_of_two_organizations_joined_at_once_the_first_by_id_is_taken(
    api: httpx.AsyncClient, database: Connection
) -> None:
    tenants = sorted([await seed.tenant(database) for _ in range(2)], key=lambda tenant: tenant.id.bytes)
    for tenant in reversed(tenants):
        await join(database, tenant, ANNA)
    await seed.call(database, tenants[0])

    assert (await get_as(api, sign_with_secret(claims(ANNA)), "/calls"))["total"] == 1


async def test_a_user_without_an_organization_and_one_who_was_removed(
    api: httpx.AsyncClient, database: Connection, acme: Tenant
) -> None:
    nobodys = await api.get("/calls", headers=bearing(sign_with_secret(claims(uuid4()))))
    assert (nobodys.status_code, nobodys.json()["error"]) == (
        403,
        "This user is not a member of any organization; ask the operator to add them.",
    )
    token = sign_with_secret(claims(ANNA))
    await get_as(api, token, "/calls")

    await database.execute("DELETE FROM members")

    assert (await api.get("/calls", headers=bearing(token))).status_code == 403


NOW_SECONDS = int(NOW.timestamp())
CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"exp": NOW_SECONDS - 29}, ""),
    ({"exp": NOW_SECONDS - 30}, "has expired"),
    ({"exp": 0}, "has expired"),
    ({"exp": None}, "lacks the claim exp"),
    ({"exp": "tomorrow"}, "has an exp, nbf or iat that is not a number"),
    ({"exp": float("nan")}, "has expired"),
    ({"nbf": NOW_SECONDS + 30}, ""),
    ({"nbf": NOW_SECONDS + 31}, "is not valid yet"),
    ({"nbf": [0]}, "has an exp, nbf or iat that is not a number"),
    ({"iat": NOW_SECONDS + 31}, "is not valid yet"),
    ({"aud": "anon"}, "has the wrong audience (aud)"),
    ({"aud": None}, "lacks the claim aud"),
    ({"aud": ["other", "authenticated"]}, ""),
    ({"iss": "https://other.example.com/auth/v1"}, "has the wrong issuer (iss)"),
    ({"iss": None}, "lacks the claim iss"),
    ({"sub": None}, "lacks the claim sub"),
    ({"sub": "anna"}, "has a sub that is not a UUID"),
    ({"sub": 7}, "has a sub that is not a UUID"),
    ({"filler": "x" * 100_000}, "is longer than 8192 characters"),
]


@pytest.mark.usefixtures("acme")
async def test_what_a_token_must_say(api: httpx.AsyncClient, issuer: TokenIssuer) -> None:
    for others, why in CLAIMS:
        for key_id in ("secret", "first", "curve"):
            answer = await api.get("/calls", headers=bearing(signed(issuer, key_id, claims(ANNA, **others))))
            if not why:
                assert answer.status_code == 200, others
                continue
            assert (answer.status_code, answer.json()["error"]) == (401, f"This token {why}."), others
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def forged(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def forgeries(issuer: TokenIssuer) -> Iterator[tuple[str, str]]:
    """Tokens without a signature, with an unknown signer, or with another algorithm than that of their
    key."""
    payload = claims(ANNA)
    public = (
        issuer.keys["first"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for none in ("none", "None", "NONE", "nOnE", "", None):
        yield f"alg {none}", forged({"alg": none, "kid": "first"}, payload)
    head, body, signature = issuer.token("first", payload).split(".")
    yield "another's body", ".".join([head, forged({}, claims(uuid4())).split(".")[1], signature])
    yield "no signature", f"{head}.{body}."
    yield "no parts", "eyJ"
    yield "two parts", f"{head}.{body}"
    yield "a JWE's five parts", f"{head}.{body}.{signature}.{signature}.{signature}"
    yield "no JSON", forged({}, {}).replace("e30", "eyI")
    yield "another's secret", sign_with_secret(payload, "x" * 40)
    # The public key is public: it must never be used as a secret.
    yield "the public key as a secret", hmac_of(public, payload, kid="first")
    yield (
        "the JWKS's shared key",
        jwt.encode(
            payload, "secret-of-thirty-two-letters-or-more", algorithm="HS256", headers={"kid": "shared"}
        ),
    )
    own = new_rsa_key()
    for key_id in ("first", "curve", "shared", "encrypting", "broken", "nowhere", "../../etc/passwd", ""):
        yield f"a key of their own as {key_id}", jwt.encode(payload, own, "RS256", headers={"kid": key_id})
    yield (
        "a key of their own, brought along",
        jwt.encode(
            payload,
            own,
            "RS256",
            headers={
                "kid": "first",
                "jwk": jwt.algorithms.RSAAlgorithm.to_jwk(own.public_key(), as_dict=True),
                "jku": "https://attacker.example.com/jwks.json",
            },
        ),
    )
    yield "no kid", jwt.encode(payload, issuer.keys["first"], "RS256")
    yield "a kid that is no text", forged({"alg": "RS256", "kid": ["first"]}, payload)
    yield (
        "an algorithm that is not taken",
        jwt.encode(payload, issuer.keys["first"], "RS512", headers={"kid": "first"}),
    )
    yield "PS256", jwt.encode(payload, issuer.keys["first"], "PS256", headers={"kid": "first"})
    yield "HS512", jwt.encode(payload, SECRET * 2, algorithm="HS512")
    yield (
        "RS256 with the curve's key",
        jwt.encode(payload, issuer.keys["first"], "RS256", headers={"kid": "curve"}),
    )
    yield "an extension that must be understood", jwt.encode(payload, SECRET, headers={"crit": ["x"], "x": 1})
    yield "no claims", sign_with_secret({})
    yield "100 kB", "x" * 100_000


def hmac_of(secret: bytes, payload: dict[str, Any], kid: str) -> str:
    """HS256 by hand, because the library refuses a public key as a secret."""
    unsigned = forged({"alg": "HS256", "kid": kid}, payload).rpartition(".")[0]
    signature = hmac.digest(secret, unsigned.encode(), hashlib.sha256)
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.usefixtures("acme")
async def test_no_forgery_is_taken(api: httpx.AsyncClient, issuer: TokenIssuer) -> None:
    await get_as(api, issuer.token("first", claims(ANNA)), "/calls")

    for what, token in forgeries(issuer):
        answer = await api.get("/calls", headers=bearing(token))
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED"), what
        by_other_header = await api.get("/calls", headers={"x-api-key": token})
        assert by_other_header.status_code == 401, what


@pytest.mark.usefixtures("acme")
async def test_without_a_secret_or_keys_their_tokens_are_refused(
    database_url: str, issuer: TokenIssuer
) -> None:
    of_secret, of_key = sign_with_secret(claims(ANNA)), issuer.token("first", claims(ANNA))
    expected: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [401, 401]),
        ({"jwt_secret": SECRET}, [200, 401]),
        ({"jwt_jwks_url": issuer.url}, [401, 200]),
    ]
    for settings, statuses in expected:
        async with serving(database_url, **settings) as api:
            answers = [await api.get("/calls", headers=bearing(token)) for token in (of_secret, of_key)]
        assert [answer.status_code for answer in answers] == statuses


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.usefixtures("acme")
async def test_keys_that_change_are_followed(database_url: str, issuer: TokenIssuer) -> None:
    clock = Clock()

    def token(key_id: str) -> dict[str, str]:
        return bearing(issuer.token(key_id, claims(ANNA, clock.now)))

    async with serving_users(database_url, issuer, clock=clock) as api:
        of_first = token("first")
        assert [(await api.get("/calls", headers=of_first)).status_code for _ in range(3)] == [200] * 3
        assert issuer.asked == 1

        issuer.keys["second"] = new_rsa_key()
        assert (await api.get("/calls", headers=token("second"))).status_code == 401
        clock.now += timedelta(seconds=10)
        assert (await api.get("/calls", headers=token("second"))).status_code == 200
        assert issuer.asked == 2

        # A withdrawn key stays valid for at most ten more minutes.
        withdrawn = token("first")
        issuer.keys["first"] = issuer.keys["second"]
        clock.now += timedelta(minutes=10, seconds=1)
        await api.get("/calls", headers=token("second"))
        async with asyncio.timeout(10):
            while (await api.get("/calls", headers=withdrawn)).status_code != 401:
                pass
        assert issuer.asked == 3


@pytest.mark.usefixtures("acme")
async def test_a_flood_of_unknown_keys_does_not_reach_the_issuer(
    api: httpx.AsyncClient, issuer: TokenIssuer
) -> None:
    own = new_rsa_key()
    flood = [jwt.encode(claims(ANNA), own, "RS256", headers={"kid": f"key-{n}"}) for n in range(50)]

    answers = await asyncio.gather(*(api.get("/calls", headers=bearing(token)) for token in flood))

    assert {answer.status_code for answer in answers} == {401}
    assert issuer.asked == 1
    await get_as(api, issuer.token("first", claims(ANNA)), "/calls")


@pytest.mark.usefixtures("acme")
async def test_while_the_issuer_is_away_the_keys_that_are_known_stay_good(
    database_url: str, issuer: TokenIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    of_first = bearing(issuer.token("first", claims(ANNA, exp=NOW_SECONDS + 86400)))
    issuer.away = True
    async with serving_users(database_url, issuer, clock=clock) as api:
        answer = await api.get("/calls", headers=of_first)
        assert (answer.status_code, answer.json()["code"]) == (503, "SIGNING_KEYS_UNAVAILABLE")
        assert answer.headers["Retry-After"] == "1"
        issuer.away = False
        clock.now += timedelta(seconds=10)
        assert (await api.get("/calls", headers=of_first)).status_code == 200

        issuer.away = True
        clock.now += timedelta(hours=1)
        asked = issuer.asked
        async with asyncio.timeout(10):
            while issuer.asked == asked:
                assert (await api.get("/calls", headers=of_first)).status_code == 200
        assert (await api.get("/calls", headers=of_first)).status_code == 200

    said = [record.getMessage() for record in caplog.records if "signing keys" in record.getMessage()]
    away = f"the signing keys cannot be read from {issuer.url}: it returned HTTP 503"
    assert [said[0], said[2:]] == [away, [away]]
    assert said[1].startswith("the signing keys can be read again after ")


@pytest.mark.usefixtures("acme")
async def test_keys_in_a_file(database_url: str, issuer: TokenIssuer, tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "jwks.json"
    file.write_text(json.dumps(issuer.jwks))
    async with serving(database_url, jwt_jwks_file=file, clock=clock) as api:
        await get_as(api, issuer.token("curve", claims(ANNA)), "/calls")

        issuer.keys["second"] = new_rsa_key()
        file.write_text(json.dumps(issuer.jwks))
        clock.now += timedelta(seconds=10)

        await get_as(api, issuer.token("second", claims(ANNA)), "/calls")
    assert issuer.asked == 0


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": 1}', '{"keys": [1]}', '{"keys": null}', "\xff"])
async def test_a_file_that_is_no_jwks(
    database_url: str, issuer: TokenIssuer, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(text)
    async with serving(database_url, jwt_jwks_file=file) as api:
        answer = await api.get("/calls", headers=bearing(issuer.token("first", claims(ANNA))))

    assert answer.json()["code"] == "SIGNING_KEYS_UNAVAILABLE"
    assert f"the signing keys cannot be read from {file}: it is not a JWKS" in caplog.messages


@pytest.mark.usefixtures("acme")
async def test_no_token_comes_into_a_log(
    api: httpx.AsyncClient, issuer: TokenIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = [issuer.token("first", claims(ANNA)), *(token for _, token in forgeries(issuer))]

    for token in tokens:
        await api.get("/calls", headers=bearing(token))

    for part in {part for token in tokens for part in token.split(".") if len(part) > 20}:
        assert part not in caplog.text

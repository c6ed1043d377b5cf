"""`GET /calls/{id}/recording`: a safe link, and the properties that the source reported."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from services.api.calls.recording_store import RecordingStore
from shared.database.connection import Connection
from shared.settings.api import ApiSettings
from shared.settings.base import InvalidSetting
from tests.support import seed
from tests.support.api import NOW, bearing, get, serving

START = datetime(2026, 11, 24, 10, tzinfo=UTC)
URL = "https://recordings.example.com/calls/1.mp3"


async def recorded(database: Connection, tenant: seed.Tenant, *ready: dict[str, Any]) -> UUID:
    """A call with these `recording.ready` events, one after the other."""
    name = str(uuid4())
    events = [seed.event(tenant, name, START, "call.initiated")]
    events += [
        seed.event(tenant, name, START + timedelta(minutes=after), "recording.ready", **said)
        for after, said in enumerate(ready, 1)
    ]
    return await seed.store(database, tenant, events)


async def test_what_the_source_said_of_it_is_answered(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    said = {
        "recording_url": URL,
        "recording_duration": 86.5,
        "format": "wav",
        "size_bytes": 345600,
        "expires_at": "2026-12-24T10:00:00+01:00",
    }
    call_id = await recorded(database, acme, {"recording_url": f"{URL}.old", "format": "opus"}, said)

    answer = await api.get(f"/calls/{call_id}/recording", headers=bearing(acme.key))

    assert answer.json() == {
        "recording_url": URL,
        "expires_at": "2026-12-24T09:00:00Z",
        "duration_seconds": 86.5,
        "format": "wav",
        "size_bytes": 345600,
    }
    assert answer.headers["Cache-Control"] == "no-store"


async def test_each_recording_of_a_call_is_in_its_detail_and_has_a_link(
    database: Connection, database_url: str
) -> None:
    acme, globex = await seed.tenant(database), await seed.tenant(database)
    first, second, third = (f"{STORE['recording_store_url']}/{name}" for name in ("1.mp3", "2.wav", "3"))
    call_id = await recorded(
        database,
        acme,
        {"recording_url": first, "recording_duration": 170, "size": 2_000},
        {"recording_url": "", "format": "opus"},
        {"recording_url": second, "duration": 90},
        {"recording_url": third},
        {"recording_url": "javascript:alert(1)"},
    )
    async with serving(database_url, **STORE) as api:
        detail = await get(api, acme, f"/calls/{call_id}")
        recordings = detail["recordings"]
        ids = [each.pop("id") for each in recordings]
        links = [
            await api.get(f"/calls/{call_id}/recording", params={"recording": id_}, headers=bearing(acme.key))
            for id_ in ids
        ]
        foreign = await api.get(
            f"/calls/{call_id}/recording", params={"recording": ids[0]}, headers=bearing(globex.key)
        )
        others = [
            await api.get(f"/calls/{call_id}/recording", params={"recording": id_}, headers=bearing(acme.key))
            for id_ in ("no such event", detail["events"][0]["id"], "x" * 129, "\0")
        ]

    minutes = [f"2026-11-24T10:0{minute}:00Z" for minute in range(1, 6)]
    unknown: dict[str, Any] = {"duration_seconds": None, "format": None, "size_bytes": None}
    assert ids == [event["id"] for event in detail["events"][1:]]
    known: list[dict[str, Any]] = [
        {"url": first, "duration_seconds": 170, "format": "mp3", "size_bytes": 2_000},
        {"url": None, "format": "opus"},
        {"url": second, "duration_seconds": 90, "format": "wav"},
        {"url": third},
        {"url": None},
    ]
    assert recordings == [
        {**unknown, **each, "created_at": at} for each, at in zip(known, minutes, strict=True)
    ]
    assert [link.status_code for link in links] == [200, 404, 200, 200, 200]
    signed = links[0].json()
    assert signed["recording_url"].startswith(f"{first}?X-Amz-Algorithm=")
    assert (signed["duration_seconds"], signed["format"]) == (170, "mp3")
    assert links[2].json()["recording_url"].startswith(f"{second}?")
    assert links[4].json()["recording_url"] is None
    assert all(link.headers["Cache-Control"] == "no-store" for link in links if link.status_code == 200)
    assert foreign.status_code == 404
    assert [answer.status_code for answer in others] == [404, 404, 400, 400]


async def test_a_call_without_recordings_has_none_in_its_detail(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)

    detail = await get(api, acme, f"/calls/{call_id}")

    assert (detail["recording"], detail["recordings"]) == (None, [])


NOTHING = {"expires_at": None, "duration_seconds": None, "format": "mp3", "size_bytes": None}


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ({}, {}),
        ({"duration": 12, "size": "345600"}, {"duration_seconds": 12, "size_bytes": 345600}),
        ({"duration_seconds": "12.5"}, {"duration_seconds": 12.5}),
        ({"format": "audio/mpeg"}, {"format": "audio/mpeg"}),
        ({"recording_duration": -1, "size_bytes": 1.5, "format": "", "expires_at": "tomorrow"}, {}),
        (
            {
                "recording_duration": True,
                "size_bytes": None,
                "format": 3,
                "expires_at": "2026-12-24T10:00:00",
            },
            {},
        ),
        ({"recording_duration": [1], "size_bytes": 1e300, "expires_at": 1}, {}),
    ],
)
async def test_what_is_not_known_is_null(
    api: httpx.AsyncClient, database: Connection, said: dict[str, Any], known: dict[str, Any]
) -> None:
    acme = await seed.tenant(database)
    call_id = await recorded(database, acme, {"recording_url": URL, **said})
    answer = await get(api, acme, f"/calls/{call_id}/recording")
    assert answer == {"recording_url": URL, **NOTHING, **known}


async def test_a_number_that_no_float_can_hold_is_not_known(
    api: httpx.AsyncClient, database: Connection
) -> None:
    """JSON does not limit numbers, and ingest limits only those that the fold reads."""
    acme = await seed.tenant(database)
    said = seed.event(acme, "one", START, "recording.ready", recording_url=URL, size_bytes=1, volume=1)
    huge = msgspec.structs.replace(
        said, payload=re.sub(r'("(?:size_bytes|volume)": )1', r"\g<1>1e400", said.payload)
    )
    call_id = await seed.store(database, acme, [huge])
    assert huge.payload.count("1e400") == 2

    assert await get(api, acme, f"/calls/{call_id}/recording") == {"recording_url": URL, **NOTHING}


async def test_what_was_said_of_another_recording_is_not_said_of_this_one(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    name = str(uuid4())
    events = [
        seed.event(acme, name, START, "recording.ready", recording_url=f"{URL}.old", format="opus"),
        seed.event(acme, name, START + timedelta(1), "call.updated", recording_url=URL),
    ]
    call_id = await seed.store(database, acme, events)
    assert await get(api, acme, f"/calls/{call_id}/recording") == {"recording_url": URL, **NOTHING}


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)//recordings.example.com/1.mp3",
        "JavaScript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "s3://bucket/1.mp3",
        "//recordings.example.com/1.mp3",
        "https:1.mp3",
        "https://",
        "https://[::1/1.mp3",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "https://recordings.example.com\\@elsewhere.example/1.mp3",
        "1.mp3",
    ],
)
async def test_what_is_no_link_of_the_web_is_answered_as_none(
    api: httpx.AsyncClient, database: Connection, url: str
) -> None:
    acme = await seed.tenant(database)
    call_id = await recorded(database, acme, {"recording_url": url, "size_bytes": 1})
    answer = await get(api, acme, f"/calls/{call_id}/recording")
    assert (answer["recording_url"], answer["size_bytes"]) == (None, 1)
    detail = await get(api, acme, f"/calls/{call_id}")
    assert detail["recording"] == {"url": None}


async def test_without_a_recording_and_without_the_call_it_is_404(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme, other = await seed.tenant(database), await seed.tenant(database)
    bare, theirs = await recorded(database, acme), await recorded(database, other, {"recording_url": URL})
    for call_id, sentence in (
        (bare, "This call has no recording yet, or not the one that `recording` names."),
        (theirs, "There is no call with this id in the organization and mode of these credentials."),
        (uuid4(), "There is no call with this id in the organization and mode of these credentials."),
    ):
        answer = await api.get(f"/calls/{call_id}/recording", headers=bearing(acme.key))
        assert (answer.status_code, answer.json()["error"]) == (404, sentence)
        assert answer.json()["code"] == "NOT_FOUND"


STORE: dict[str, Any] = {
    "recording_store_url": "https://recordings.example.com/calls",
    "recording_store_region": "eu-central-1",
    "recording_store_key_id": "AKIAIOSFODNN7EXAMPLE",
    "recording_store_secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


async def test_links_to_the_own_store_are_signed_and_end(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    ours = await recorded(database, acme, {"recording_url": URL, "expires_at": "2030-01-01T00:00:00Z"})
    theirs = await recorded(database, acme, {"recording_url": "https://elsewhere.example/calls/1.mp3"})
    async with serving(database_url, **STORE, recording_link_seconds=60) as api:
        answer = await get(api, acme, f"/calls/{ours}/recording")
        other = await get(api, acme, f"/calls/{theirs}/recording")

    link = urlsplit(answer["recording_url"])
    assert f"{link.scheme}://{link.netloc}{link.path}" == URL
    assert dict(parse_qsl(link.query))["X-Amz-Expires"] == "60"
    assert answer["expires_at"] == (NOW + timedelta(seconds=60)).isoformat().replace("+00:00", "Z")
    assert (other["recording_url"], other["expires_at"]) == ("https://elsewhere.example/calls/1.mp3", None)


def test_the_signature_is_the_one_that_aws_has_published() -> None:
    """The example of "Authenticating Requests: Using Query Parameters", with invalid credentials."""
    store = RecordingStore(
        "https://examplebucket.s3.amazonaws.com/",
        "us-east-1",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        86400,
    )
    link = store.signed("https://examplebucket.s3.amazonaws.com/test.txt", datetime(2013, 5, 24, tzinfo=UTC))
    assert link == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        ("https://store.example:443/calls/a b+c.mp3", "https://store.example/calls/a%20b%2Bc.mp3?"),
        ("https://STORE.example/calls/%E2%98%8E.mp3#play", "https://store.example/calls/%E2%98%8E.mp3?"),
        (
            "https://store.example/calls/1?versionId=a%2Fb&X-Amz-Signature=old",
            "https://store.example/calls/1?X-",
        ),
        ("https://store.example/calls2/1.mp3", None),
        ("https://store.example/calls", None),
        ("https://store.example/calls/../secrets/1", None),
        ("https://store.example/calls/%2e%2e/secrets/1", None),
        ("https://store.example:444/calls/1.mp3", None),
        ("http://store.example/calls/1.mp3", None),
        ("https://store.example.evil.example/calls/1.mp3", None),
        ("https://store.example:x/calls/1.mp3", None),
    ],
)
def test_only_what_is_in_the_store_is_signed(url: str, begins: str | None) -> None:
    store = RecordingStore("https://store.example/calls/", "us-east-1", "key", "secret", 60)
    link = store.signed(url, NOW)
    assert (link is None) == (begins is None)
    if link is not None and begins is not None:
        assert link.startswith(begins)
        assert "old" not in link
        assert ("versionId=a%2Fb" in link) == ("versionId" in url)


def test_a_store_needs_credentials_to_sign_with() -> None:
    with pytest.raises(InvalidSetting, match="requires CALLFOLD_RECORDING_STORE_KEY_ID and"):
        ApiSettings(recording_store_url=STORE["recording_store_url"])
    with pytest.raises(InvalidSetting, match="CALLFOLD_RECORDING_STORE_URL must be a URL such as https://"):
        ApiSettings(**{**STORE, "recording_store_url": "s3://bucket"})

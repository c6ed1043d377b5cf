"""`callfold source` and `callfold number`: systems are connected, changed and tried; secrets stay secret."""

import json
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from services.ops.proof.proof import prove
from shared.database.connection import Connection
from shared.secret_box import SecretBox, new_key
from shared.store.sources import read_sources
from tests.support import seed
from tests.support.command_line import callfold, callfold_reading
from tests.support.events import NOON, ORGANIZATION, event
from tests.support.sources import SAMPLES, SCENARIOS
from tests.support.storing import arrivals, store

SECRET: Final = "whsec-very-secret"
OTHER: Final = UUID("6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8b01")


@pytest.fixture
async def settings(database: Connection, database_url: str) -> dict[str, str]:
    """The settings of commands. The organization exists."""
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)
    return {"database_url": database_url, "secrets_key": new_key()}


async def _create(settings: dict[str, str], *options: str) -> dict[str, Any]:
    done = await callfold(
        "source",
        "create",
        "voice",
        "--dialect",
        "bland",
        "--organization",
        ORGANIZATION,
        "--secret",
        f"webhook_secret={SECRET}",
        *options,
        "--json",
        **settings,
    )
    assert done.status == 0, done.failure
    created: dict[str, Any] = done.json
    return created


async def test_a_source_is_created_with_its_address(settings: dict[str, str]) -> None:
    created = await _create(settings)
    assert created == {
        "id": created["id"],
        "name": "voice",
        "dialect": "bland",
        "hook_path": f"/hooks/{created['id']}",
        "topic": None,
    }


async def test_secrets_are_encrypted_and_never_shown(
    settings: dict[str, str], database: Connection, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text(f"{SECRET}\n")
    await _create(settings)
    file = f"webhook_secret=@{tmp_path / 'secret.txt'}"
    assert (await callfold("source", "set", "voice", "--secret", file, **settings)).status == 0
    rows = await database.fetch("SELECT sources::text, secrets FROM sources")
    assert SECRET not in rows[0][0]
    assert SECRET.encode() not in rows[0][1]
    audit = await database.fetch("SELECT audit_log::text FROM audit_log")
    shown = [
        (await callfold("source", *words, **settings)).output for words in (("list",), ("show", "voice"))
    ]
    assert SECRET not in "".join([*shown, *(row[0] for row in audit)])
    (stored,) = await read_sources(database, SecretBox([settings["secrets_key"]]))
    assert stored.source.secrets == {"webhook_secret": SECRET}
    assert SECRET not in repr(stored)


async def test_a_key_is_replaced(settings: dict[str, str], database: Connection) -> None:
    await _create(settings)
    done = await callfold("source", "new-key")
    new = done.output.strip()
    both = settings | {"secrets_key": f"{new},{settings['secrets_key']}"}
    acme = await seed.tenant(database)
    url = "https://example.com/callfold"
    added = await callfold("webhook", "add", url, "--organization", acme.id, **settings)
    assert added.status == 0
    assert (await callfold("source", "encrypt-again", "--json", **both)).json == {"sources": 1, "webhooks": 1}
    (stored,) = await read_sources(database, SecretBox([new]))
    assert stored.source.secrets == {"webhook_secret": SECRET}
    of_webhook = await database.fetchval("SELECT secrets FROM webhooks")
    assert SecretBox([new]).decrypted(of_webhook) == {"current": added.output.strip()}
    (locked,) = await read_sources(database, SecretBox([settings["secrets_key"]]))
    assert locked.locked == "No key of CALLFOLD_SECRETS_KEY decrypts the secrets."
    refused = await callfold("source", "set", "voice", "--name", "x", **settings)
    assert "cannot be changed: No key of CALLFOLD_SECRETS_KEY" in refused.failure


async def test_a_source_is_changed(settings: dict[str, str], database: Connection) -> None:
    await _create(settings)
    for words in (
        ("set", "voice", "--name", "bots", "--url", "https://hooks.example.com/bland"),
        ("map", "bots", f"a=b={OTHER}"),
        ("map", "bots", "--remove", "a=b"),
        ("disable", "bots"),
    ):
        done = await callfold("source", *words, **settings)
        assert done.status == 0, done.failure
    (stored,) = await read_sources(database, SecretBox([settings["secrets_key"]]))
    assert (stored.source.name, stored.source.url, stored.enabled, dict(stored.source.organizations)) == (
        "bots",
        "https://hooks.example.com/bland",
        False,
        {},
    )
    assert (await callfold("source", "delete", "bots", **settings)).status == 0
    actions = await database.fetch("SELECT action FROM audit_log ORDER BY at, id")
    assert [row[0] for row in actions] == [
        *("source created", "source changed", "source changed", "source changed", "source disabled"),
        "source deleted",
    ]


async def test_an_organization_that_does_not_exist_is_pointed_out(settings: dict[str, str]) -> None:
    done = await callfold(
        *("source", "create", "x", "--dialect", "wazo", "--topic", "t", "--organization", OTHER), **settings
    )
    assert done.status == 0
    assert done.errors == f"Note: there is no organization {OTHER} yet.\n"


async def test_try_shows_the_events_of_samples() -> None:
    files = [str(SAMPLES / "twilio" / f"{name}.json") for name in ("outbound_busy", "dial_action")]
    done = await callfold("source", "try", "--sample", *files)
    busy, ignored = map(json.loads, done.output.splitlines())
    assert (busy["file"], busy["outcome"], busy["reason"], busy["response"]) == (
        files[0],
        "events",
        None,
        None,
    )
    assert [(one["type"], one["data"]["status"]) for one in busy["events"]] == [("call.failed", "busy")]
    assert (ignored["outcome"], ignored["events"], ignored["reason"]) == (
        "ignored",
        [],
        "it is not a status callback",
    )


async def test_try_folds_scenarios_in_any_order() -> None:
    file = str(SCENARIOS / "kamailio_forward_on_busy.json")
    expected = json.loads(Path(file).read_text())["calls"]
    for options in ((), ("--shuffle", "7"), ("--shuffle", "8", "--twice")):
        done = await callfold("source", "try", "--scenario", *options, file)
        calls = json.loads(done.output)["calls"]
        assert [(one["call_id"], one["organization"], one["status"]) for one in calls] == [
            (one["call_id"], one["organization"], one["status"]) for one in expected
        ]


async def test_try_reads_a_bare_body() -> None:
    body = b'{"call_id": "c1", "completed": true, "to": "15550101", "created_at": "2026-11-10T09:00:00Z",'
    body += b'"started_at": "2026-11-10T09:00:05Z", "end_at": "2026-11-10T09:01:05Z", '
    body += b'"corrected_duration": "60"}'
    for options, organization_id in (((), None), (("--organization", ORGANIZATION), str(ORGANIZATION))):
        done = await callfold_reading(body, "source", "try", "--dialect", "bland", *options, "-")
        made = json.loads(done.output)
        assert made["outcome"] == "events", made
        assert {one["organization_id"] for one in made["events"]} == {organization_id}
    assert made["events"][-1]["type"] == "call.completed"
    assert made["events"][-1]["data"]["duration"] == 60


async def test_numbers_are_applied_to_stored_calls(
    settings: dict[str, str], database: Connection, tmp_path: Path
) -> None:
    number_id = uuid4()
    calls = [
        event("call.initiated", id="1", call_id=UUID(int=n + 1), from_number="+4930", to_number=to)
        for n, to in enumerate(("+15550100", "+15550101", "+15550999"))
    ]
    await store(database, arrivals(*calls), [], now=NOON)
    (tmp_path / "numbers.csv").write_text(f"number,id\n+15550100,{number_id}\n+15550101\n")
    done = await callfold(
        *("number", "add", "--organization", ORGANIZATION, "--csv", str(tmp_path / "numbers.csv"), "--apply"),
        "--json",
        **settings,
    )
    assert done.json == {"added": 2, "changed_calls": 2}, done.failure
    rows = await database.fetch("SELECT to_number, phone_number_id, direction FROM calls ORDER BY to_number")
    assert tuple(rows[0]) == ("+15550100", number_id, "inbound")
    assert [row["direction"] for row in rows] == ["inbound", "inbound", None]
    assert rows[1]["phone_number_id"] is not None
    assert rows[2]["phone_number_id"] is None
    proof = await prove(settings["database_url"])
    assert proof.exact, proof.differences
    again = await callfold(
        "number", "add", "--organization", ORGANIZATION, "+15550101", "--apply", "--json", **settings
    )
    assert again.json == {"added": 1, "changed_calls": 0}


SIGNS_ADDRESS: Final = (
    ("twilio", "auth_token=x"),
    ("plivo", "auth_token=x"),
    ("signalwire", "signing_key=x"),
    ("vapi", 'hmac={"secret": "x", "payload_format": "{url}.{body}"}'),
)


@pytest.mark.parametrize(("dialect", "secret"), SIGNS_ADDRESS)
async def test_a_signed_address_must_be_given(
    dialect: str, secret: str, settings: dict[str, str], database: Connection
) -> None:
    create = ("source", "create", "x", "--dialect", dialect, "--organization", ORGANIZATION)
    refused = await callfold(*create, "--secret", secret, **settings)
    assert refused.failure == (
        f"The dialect {dialect} needs --url, such as --url https://hooks.example.com: its signatures cover "
        "the address that the system calls."
    )
    done = await callfold(*create, "--secret", secret, "--url", "https://hooks.example.com", **settings)
    assert done.status == 0, done.failure
    url = await database.fetchval("SELECT 'https://hooks.example.com/hooks/' || id FROM sources")
    assert f"Address that the system calls: {url}\n" in done.output
    refused = await callfold("source", "set", "x", "--url", "", **settings)
    assert "needs --url" in refused.failure
    assert await database.fetchval("SELECT url FROM sources") == url
    path = "https://hooks.example.com/voice?x=1"
    assert (await callfold("source", "set", "x", "--url", path, **settings)).status == 0
    assert await database.fetchval("SELECT url FROM sources") == path


@pytest.mark.parametrize("url", ["hooks.example.com", "https://", "https://[", "https://a b", "ftp://a"])
async def test_an_address_that_is_none_is_refused(url: str, settings: dict[str, str]) -> None:
    await _create(settings)
    done = await callfold("source", "set", "voice", "--url", url, **settings)
    assert done.failure.startswith("--url must be an address such as https://hooks.example.com")


@pytest.mark.parametrize(
    ("dialect", "secrets", "failure"),
    [
        ("kamailio", ("username=u",), "The secret password is missing: username and password work only"),
        ("kamailio", ("password=p",), "The secret username is missing: username and password work only"),
        ("kamailio", ("username=u", "password="), "--secret password is empty."),
        ("kamailio", ("username=u", "password= "), "--secret password is empty."),
        ("amazon_connect", ("username=u",), "The secret password is missing"),
        ("jambonz", (), "The dialect jambonz needs one of the secrets webhook_secret, password."),
        ("vapi", (), "The dialect vapi needs one of the secrets hmac, bearer_token, x_vapi_secret."),
        ("bland", ("webhook_secret=",), "--secret webhook_secret is empty."),
        ("bland", ("webhook_secret=a", "webhook_secret=b"), "--secret webhook_secret is given twice."),
    ],
)
async def test_secrets_that_leave_a_source_open_or_dead_are_refused(
    dialect: str, secrets: tuple[str, ...], failure: str, settings: dict[str, str], database: Connection
) -> None:
    options = [word for secret in secrets for word in ("--secret", secret)]
    create = ("source", "create", "x", "--dialect", dialect, "--organization", ORGANIZATION)
    done = await callfold(*create, *options, **settings)
    assert done.failure.startswith(failure)
    assert await database.fetchval("SELECT count(*) FROM sources") == 0


async def test_an_empty_file_of_a_secret_is_named(settings: dict[str, str], tmp_path: Path) -> None:
    await _create(settings)
    (tmp_path / "empty.txt").write_text("\n")
    done = await callfold(
        "source", "set", "voice", "--secret", f"webhook_secret=@{tmp_path / 'empty.txt'}", **settings
    )
    assert done.failure == f"--secret webhook_secret: the file {tmp_path / 'empty.txt'} is empty."


async def test_a_source_without_credentials_is_pointed_out(settings: dict[str, str]) -> None:
    create = ("source", "create", "x", "--dialect", "kamailio", "--organization", ORGANIZATION)
    done = await callfold(*create, "--json", **settings)
    path = done.json["hook_path"]
    note = (
        f"Note: every client that knows the address {path} can deliver to the source x: it has no secret.\n"
    )
    assert done.errors == note
    pair = ("--secret", "username=u", "--secret", "password=p")
    assert (await callfold("source", "set", "x", *pair, **settings)).errors == ""
    kept = await callfold("source", "set", "x", "--secret", "password=", **settings)
    assert kept.failure.startswith("The secret password is missing")
    none = ("--secret", "username=", "--secret", "password=")
    assert (await callfold("source", "set", "x", *none, **settings)).errors == note


async def test_a_value_is_mapped_once(settings: dict[str, str], database: Connection) -> None:
    await _create(settings)
    done = await callfold("source", "map", "voice", f"a={ORGANIZATION}", f"a={OTHER}", **settings)
    assert done.failure == "VALUE=ID: the value 'a' is given twice."
    done = await callfold("source", "map", "voice", "AC1", **settings)
    assert done.failure == "VALUE=ID must have the form VALUE=ID, not 'AC1'."
    assert await database.fetchval("SELECT organizations::text FROM sources") == "{}"
    create = ("source", "create", "x", "--dialect", "wazo", "--topic", "t")
    done = await callfold(*create, "--map", f"a={ORGANIZATION}", "--map", f"a={OTHER}", **settings)
    assert done.failure == "--map: the value 'a' is given twice."


@pytest.mark.parametrize("topic", ["kamailio calls", ".", "..", "a/b", "ä", "a" * 250])
async def test_a_topic_has_a_name_that_kafka_can_have(topic: str, settings: dict[str, str]) -> None:
    create = ("source", "create", "x", "--dialect", "wazo", "--organization", ORGANIZATION)
    done = await callfold(*create, "--topic", topic, **settings)
    assert done.failure.startswith("--topic must have 1 to 249 letters")


async def test_a_topic_that_kafka_lacks_is_pointed_out_and_created(
    settings: dict[str, str], bootstrap: str
) -> None:
    topic = f"wazo-{uuid4().hex[:8]}"
    where = settings | {"kafka_bootstrap": bootstrap}
    create = ("--dialect", "wazo", "--topic", topic, "--organization", ORGANIZATION)
    done = await callfold("source", "create", "x", *create, **where)
    assert done.errors == f"Note: Kafka has no topic {topic}. `callfold topic {topic}` creates it.\n"
    made = await callfold("topic", topic, "--json", **where)
    assert (made.json["topic"], made.json["created"], made.json["partitions"]) == (topic, True, 8)
    assert "deliveries" not in made.json
    taken = await callfold("source", "create", "y", *create, **where)
    assert taken.failure == f"The source x has the topic {topic} already."
    gone = await callfold("source", "delete", "x", **where)
    assert f"`replay --topic {topic}` takes its records for callfold's own events." in gone.output
    assert (await callfold("source", "create", "y", *create, **where)).errors == ""


@pytest.mark.parametrize(
    ("option", "content", "failure"),
    [
        ("--sample", {}, "The file is not a sample: the field `source` is missing."),
        ("--sample", {"source": {}}, "The file is not a sample: the field `dialect` is missing."),
        (
            "--sample",
            {"source": {}, "dialect": "bland"},
            "The file is not a sample: the field `received_at` is missing.",
        ),
        (
            "--sample",
            {"source": {}, "dialect": "bland", "received_at": "2026-11-24T10:00:00Z"},
            "The file is not a sample: one of the fields `request` and `record` is missing.",
        ),
        ("--scenario", {}, "The file is not a scenario: the field `deliveries` is missing."),
        (
            "--scenario",
            {"deliveries": [{}]},
            "The file is not a scenario: the field `source` is missing.",
        ),
        (
            "--scenario",
            {"deliveries": [{"source": "b"}]},
            "The file is not a scenario: a delivery names the source 'b', which is missing.",
        ),
        ("--sample", {"source": []}, "The file is not a sample: the field `dialect` is missing."),
        (
            "--sample",
            {"source": [], "dialect": "bland"},
            "The file is not a sample: a field has a value of another kind than documented.",
        ),
    ],
)
async def test_try_names_what_a_file_lacks(
    option: str, content: dict[str, Any], failure: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    done = await callfold("source", "try", option, str(file))
    assert done.failure == f"{file}: {failure}"


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        (("--sample", "--shuffle", "0"), "--shuffle needs --scenario."),
        (("--sample", "--twice"), "--twice needs --scenario."),
        (("--scenario", "--map", f"a={OTHER}"), "--map needs --dialect."),
    ],
)
async def test_try_refuses_options_of_another_way(options: tuple[str, ...], failure: str) -> None:
    assert (await callfold("source", "try", *options, "a.json")).failure == failure


async def test_try_names_both_forms_of_a_body() -> None:
    done = await callfold_reading(b"hello", "source", "try", "--dialect", "twilio", "-")
    reason = json.loads(done.output)["reason"]
    assert reason.startswith("The body is neither a form, such as NAME=VALUE&NAME=VALUE, nor JSON: ")


@pytest.mark.parametrize(
    "number",
    ["+15550100", "101", "*98", "anna", "anna.b", "client:anna", "sip:anna@example.com", "0301234", "zoë"],
)
async def test_what_a_call_can_have_is_a_number(number: str, settings: dict[str, str]) -> None:
    done = await callfold("number", "add", "--organization", ORGANIZATION, number, **settings)
    assert done.status == 0, done.failure


async def test_a_file_with_a_bad_line_adds_nothing(
    settings: dict[str, str], database: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text(
        f"id,number\n{OTHER},+15550100\n\n,hello world\n{OTHER},\nx,101\n{ORGANIZATION},+15550100\n"
    )
    add = ("number", "add", "--organization", ORGANIZATION, "--csv", str(file))
    done = await callfold(*add, **settings)
    rule = (
        "is no number of a call: an E.164 number such as +15550100, an extension such as 101, or a SIP user "
        "or address without spaces."
    )
    assert done.failure.splitlines() == [
        f"{file}, line 4: 'hello world' {rule}",
        f"{file}, line 5: '' {rule}",
        f"{file}, line 6: the id must be a UUID, such as 0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90, not 'x'.",
        f"{file}, line 7: the number +15550100 is given before with another id.",
    ]
    assert await database.fetchval("SELECT count(*) FROM phone_numbers") == 0
    file.write_text("+15550100\nnumber\n")
    assert (await callfold(*add, **settings)).status == 0
    rows = await database.fetch("SELECT number FROM phone_numbers ORDER BY number")
    assert [number for (number,) in rows] == ["+15550100", "number"]


async def test_a_number_that_is_not_there_is_named(settings: dict[str, str]) -> None:
    await callfold("number", "add", "--organization", ORGANIZATION, "101", "102", **settings)
    remove = ("number", "remove", "--organization", ORGANIZATION)
    done = await callfold(*remove, "101", "999", **settings)
    assert (done.status, done.output) == (1, "Removed 1 number.\n")
    assert done.failure == "The organization does not have 999."
    done = await callfold(*remove, "102", "--json", **settings)
    assert done.json == {"removed": 1, "unknown": []}

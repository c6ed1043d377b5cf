"""Invalid settings: the sentence, and a service that exits with it."""

import os
import subprocess
import sys
from ipaddress import ip_network

import pytest

from shared.settings.aggregator import AggregatorSettings
from shared.settings.api import ApiSettings
from shared.settings.base import PREFIX, RENAMED, InvalidSetting
from shared.settings.base import Settings as BaseSettings
from shared.settings.database import DatabaseSettings
from shared.settings.ingest import IngestSettings
from shared.settings.kafka import KafkaSettings
from shared.settings.misspelt import ALL_SETTINGS, deprecated, misspelt
from shared.settings.process import LogSettings

Settings = type[LogSettings | DatabaseSettings | KafkaSettings]

WRONG: list[tuple[Settings, str, str, str]] = [
    (LogSettings, "LOG_LEVEL", "LOUD", "be DEBUG, INFO, WARNING or ERROR"),
    (DatabaseSettings, "DATABASE_URL", "mysql://u:secret@h/x", "begin with postgresql://"),
    (
        DatabaseSettings,
        "DATABASE_URL",
        "postgresql://u:secret@h:port/x",
        "be a URL such as postgresql://user@host:5432/database",
    ),
    (
        DatabaseSettings,
        "DATABASE_URL",
        "postgresql://u:secret@h/x?sslmode=maybe",
        "have one of disable, allow, prefer, require, verify-ca, verify-full as sslmode",
    ),
    (
        DatabaseSettings,
        "DATABASE_URL",
        "postgresql://u:secret@h/x?sslmode=require&sslrootcert=/nowhere.pem",
        "name a readable file in sslrootcert, not /nowhere.pem (no such file or directory)",
    ),
    (
        DatabaseSettings,
        "DATABASE_URL",
        "postgresql://u:secret@h/x?sslmode=verify-full",
        "name the authority's certificates in sslrootcert, which sslmode=verify-full requires",
    ),
    (
        DatabaseSettings,
        "DATABASE_URL",
        "postgresql://u:secret@h/x?connect_timeout=3",
        "not have the parameter connect_timeout, which only libpq supports",
    ),
    (DatabaseSettings, "DATABASE_POOLER", "session", "be none or transaction"),
    (ApiSettings, "API_REPLICA_URL", "mysql://u:secret@h/x", "begin with postgresql://"),
    (DatabaseSettings, "DATABASE_CONNECT_TIMEOUT_SECONDS", "inf", "be a number greater than 0"),
    (KafkaSettings, "KAFKA_BOOTSTRAP", "one:9092,two:x", "be host:port, or several separated by commas"),
    (KafkaSettings, "KAFKA_BOOTSTRAP", "", "be host:port, or several separated by commas"),
    (KafkaSettings, "TOPIC", "", "not be empty"),
    (IngestSettings, "UNKNOWN_ORGANIZATIONS", "maybe", "be create or quarantine"),
    (IngestSettings, "BATCH_RECORDS", "0", "be a whole number from 1 to 100000"),
    (AggregatorSettings, "AGGREGATE_DELTAS", "many", "be a whole number, 1 or more"),
    (AggregatorSettings, "AGGREGATE_REST_SECONDS", "0", "be a number greater than 0"),
    (AggregatorSettings, "AGGREGATE_INTERVAL_SECONDS", "0", "be a number greater than 0"),
    (ApiSettings, "API_PORT", "abc", "be a whole number from 1 to 65535"),
    (ApiSettings, "API_PORT", "65536", "be a whole number from 1 to 65535"),
    (ApiSettings, "TRACES_URL", "collector:4318", "be a URL such as http://host:4318/v1/traces"),
    (ApiSettings, "TRACES_URL", "http://collector:x", "be a URL such as http://host:4318/v1/traces"),
    (
        ApiSettings,
        "TRACES_URL",
        "http://user:secret@collector:4318/v1/traces",
        "be a URL such as http://host:4318/v1/traces, without a user or password in it",
    ),
    (ApiSettings, "TRACES_RATIO", "2", "be a number from 0 to 1"),
    (
        ApiSettings,
        "API_TRUSTED_PROXIES",
        "10.0.0.0/8, 192.168.0.1/16",
        "be networks such as 10.0.0.0/8, separated by commas, without host bits",
    ),
    *[
        (
            ApiSettings,
            "API_CORS_ORIGINS",
            origins,
            "be * or origins such as https://app.example.com, separated by commas, as browsers send them: "
            "in lower case, without a path and without the scheme's default port",
        )
        for origins in (
            "app.example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://localhost:3000,*",
            "https://*.example.com",
            "https://user@app.example.com",
            "null",
        )
    ],
    (ApiSettings, "JWT_SECRET", "x" * 31, "have at least 32 bytes"),
    (
        ApiSettings,
        "JWT_JWKS_URL",
        "http://auth.example.com/jwks.json",
        "begin with https:// unless its host is this machine",
    ),
    (ApiSettings, "JWT_JWKS_FILE", "/nowhere", "name a readable file (No such file or directory)"),
    (ApiSettings, "JWT_AUDIENCE", "", "not be empty"),
    (ApiSettings, "TRACES_RATIO", "many", "be a number from 0 to 1"),
    (ApiSettings, "MONITOR_PORT", "0", "be a whole number from 1 to 65535"),
    (ApiSettings, "FASTSTREAM_METRICS", "maybe", "be true or false"),
]


@pytest.mark.parametrize(("settings", "name", "value", "rule"), WRONG)
def test_a_wrong_setting_is_named_with_its_rule(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, name: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(f"CALLFOLD_{name}", value)
    with pytest.raises(InvalidSetting) as caught:
        settings()
    assert str(caught.value) == f"CALLFOLD_{name} must {rule}."


@pytest.mark.parametrize("value", ["", "0", "-1", "maybe", "nan", "x" * 1000])
def test_every_setting_takes_a_value_or_refuses_it_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for settings in ALL_SETTINGS:
        for field in settings.model_fields:
            with monkeypatch.context() as one:
                one.setenv(f"{PREFIX}{field.upper()}", value)
                assert value == "" or "not be empty" not in _refusal(settings), field


def _refusal(settings: type[BaseSettings]) -> str:
    """The sentence that refuses the settings of the environment; nothing if they are taken."""
    try:
        settings()
    except InvalidSetting as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("database_url", "postgres://u:p%40ss@one:5432,two:5433/callfold?sslmode=require"),
        ("database_url", "postgresql:///callfold?host=/run/postgresql"),
        ("kafka_bootstrap", "[::1]:9092, two"),
    ],
)
def test_an_address_that_can_be_used_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv(f"CALLFOLD_{setting.upper()}", value)
    assert getattr(IngestSettings(), setting) == value


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (
            "https://app.example.com, http://localhost:3000,http://[::1]:8080, capacitor://localhost",
            (
                "https://app.example.com",
                "http://localhost:3000",
                "http://[::1]:8080",
                "capacitor://localhost",
            ),
        ),
    ],
)
def test_origins_are_listed_with_commas(
    monkeypatch: pytest.MonkeyPatch, written: str, origins: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CALLFOLD_API_CORS_ORIGINS", written)
    assert ApiSettings().api_cors_origins == origins


def test_the_keys_of_tokens_come_from_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLFOLD_JWT_JWKS_URL", "https://auth.example.com/jwks.json")
    monkeypatch.setenv("CALLFOLD_JWT_JWKS_FILE", __file__)
    with pytest.raises(InvalidSetting, match="CALLFOLD_JWT_JWKS_URL and CALLFOLD_JWT_JWKS_FILE both name"):
        ApiSettings()


def test_no_password_is_shown_with_the_settings() -> None:
    url = "postgresql://u:hidden-words@h/x"
    shown = ApiSettings(database_url=url, api_replica_url=url, jwt_secret="hidden-words" * 3)
    assert "hidden-words" not in f"{shown!r} {shown}"


@pytest.mark.parametrize(
    ("service", "name", "value", "rule"),
    [
        ("api", "API_PORT", "abc", "be a whole number from 1 to 65535"),
        ("ingest", "UNKNOWN_ORGANIZATIONS", "maybe", "be create or quarantine"),
        ("aggregator", "LOG_LEVEL", "LOUD", "be DEBUG, INFO, WARNING or ERROR"),
    ],
)
@pytest.mark.processes
def test_a_service_with_a_wrong_setting_ends_with_the_sentence(
    service: str, name: str, value: str, rule: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {f"CALLFOLD_{name}": value},
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: CALLFOLD_{name} must {rule}.\n")


@pytest.mark.parametrize("service", ["ingest", "aggregator", "api"])
@pytest.mark.processes
def test_a_misspelt_setting_is_told_and_others_names_are_let_be(service: str) -> None:
    names = {"CALLFOLD_LOGLEVEL": "DEBUG", "CALLFOLD_API_SERVICE_PORT": "80", "CALLFOLD_PROGRAM": "callfold"}
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | names | {"CALLFOLD_DATABASE_URL": "mysql://", "CALLFOLD_LOG_FORMAT": "text"},
    )
    warned, end = done.stderr.splitlines()
    assert warned.endswith(
        "CALLFOLD_LOGLEVEL is not a setting and is ignored. Did you mean CALLFOLD_LOG_LEVEL?"
    )
    assert end.startswith("Error: CALLFOLD_DATABASE_URL must")


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two settings that had other names in an older version."""
    monkeypatch.setitem(RENAMED, "CALLFOLD_HTTP_PORT", "CALLFOLD_API_PORT")
    monkeypatch.setitem(RENAMED, "CALLFOLD_PROXIES", "CALLFOLD_API_TRUSTED_PROXIES")


@pytest.mark.usefixtures("renamed")
def test_a_deprecated_name_is_read_until_the_present_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLFOLD_HTTP_PORT", "8080")
    monkeypatch.setenv("CALLFOLD_PROXIES", "10.0.0.0/8")
    settings = ApiSettings()
    assert (settings.api_port, settings.api_trusted_proxies) == (8080, (ip_network("10.0.0.0/8"),))
    assert "api_port" not in AggregatorSettings.model_fields
    AggregatorSettings()
    assert ApiSettings(api_port=8082).api_port == 8082
    monkeypatch.setenv("CALLFOLD_API_PORT", "8081")
    assert ApiSettings().api_port == 8081
    monkeypatch.delenv("CALLFOLD_API_PORT")
    monkeypatch.setenv("CALLFOLD_HTTP_PORT", "no")
    with pytest.raises(InvalidSetting, match=r"^CALLFOLD_API_PORT must be a whole number"):
        ApiSettings()


@pytest.mark.usefixtures("renamed")
def test_a_deprecated_name_is_reported_with_the_present_one() -> None:
    names = ["CALLFOLD_HTTP_PORT", "CALLFOLD_API_PORTS", "CALLFOLD_API_PORT"]
    assert deprecated(names) == ["CALLFOLD_HTTP_PORT is deprecated: use CALLFOLD_API_PORT."]
    (misspelling,) = misspelt(names)
    assert misspelling.startswith("CALLFOLD_API_PORTS is not a setting")


def test_a_renamed_setting_leads_to_a_setting() -> None:
    known = {f"{PREFIX}{field.upper()}" for of in ALL_SETTINGS for field in of.model_fields}
    assert set(RENAMED.values()) <= known
    assert known.isdisjoint(RENAMED)


@pytest.mark.processes
def test_a_command_tells_of_a_misspelt_setting_before_it_asks_another_database() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from services.ops.main import run; run()", "verify"],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ
        | {"CALLFOLD_DATABASE_ULR": "postgresql://there/", "CALLFOLD_DATABASE_URL": "mysql://"},
    )
    warned, end = done.stderr.splitlines()
    sentence = "is not a setting and is ignored. Did you mean CALLFOLD_DATABASE_URL?"
    assert warned == f"Warning: CALLFOLD_DATABASE_ULR {sentence}"
    assert end.startswith("Error: CALLFOLD_DATABASE_URL must")
    assert (done.returncode, done.stdout) == (1, "")

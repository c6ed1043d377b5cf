"""Kafka's security settings: valid combinations, and the sentence for each invalid one."""

import ssl
from pathlib import Path

import pytest
import trustme
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from shared.kafka.client import cause, client_options
from shared.settings.base import InvalidSetting
from shared.settings.ingest import IngestSettings
from shared.settings.kafka import KafkaSettings
from tests.support.secured_kafka import pkcs8

SECRET = "never-shown"

PASSWORD = {"username": "callfold", "password": SECRET}
SASL = {"security_protocol": "SASL_SSL"}
SCRAM = {**SASL, "sasl_mechanism": "SCRAM-SHA-512"}
OAUTH = {**SASL, "sasl_mechanism": "OAUTHBEARER"}
GRANT = {"token_url": "https://identity.example.com/token", "client_id": "callfold", "client_secret": SECRET}
SSL = {"security_protocol": "SSL"}

NEEDS_SASL = "needs CALLFOLD_KAFKA_SECURITY_PROTOCOL to be SASL_SSL or SASL_PLAINTEXT."
NEEDS_TLS = "needs CALLFOLD_KAFKA_SECURITY_PROTOCOL to be SSL or SASL_SSL."

MECHANISM = "CALLFOLD_KAFKA_SASL_MECHANISM"
ONE_OF_BOTH = (
    f"TOKEN_URL or CALLFOLD_KAFKA_TOKEN_FILE, but not both, must be set for {MECHANISM} OAUTHBEARER."
)
IN_PEM = "CERTIFICATE_FILE must hold a certificate, and CALLFOLD_KAFKA_{} its key, in PEM."
KEY_PASSWORD = "KEY_PASSWORD must be the password of the key in CALLFOLD_KAFKA_KEY_FILE."
CERTIFICATE = {**SSL, "certificate_file": "certificate.pem"}

WRONG: list[tuple[dict[str, str], str]] = [
    ({"security_protocol": "TLS"}, "SECURITY_PROTOCOL must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."),
    (
        {**SASL, "sasl_mechanism": "GSSAPI"},
        "SASL_MECHANISM must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.",
    ),
    (PASSWORD, f"USERNAME {NEEDS_SASL}"),
    ({**SSL, **PASSWORD}, f"USERNAME {NEEDS_SASL}"),
    ({"sasl_mechanism": "SCRAM-SHA-512"}, f"SASL_MECHANISM {NEEDS_SASL}"),
    (GRANT, f"TOKEN_URL {NEEDS_SASL}"),
    ({"ca_file": "ca.pem"}, f"CA_FILE {NEEDS_TLS}"),
    ({"security_protocol": "SASL_PLAINTEXT", **PASSWORD, "ca_file": "ca.pem"}, f"CA_FILE {NEEDS_TLS}"),
    (SASL, f"USERNAME must be set for {MECHANISM} PLAIN."),
    ({**SCRAM, "username": "u"}, f"PASSWORD must be set for {MECHANISM} SCRAM-SHA-512."),
    ({**SCRAM, "username": "u", "password": ""}, f"PASSWORD must be set for {MECHANISM} SCRAM-SHA-512."),
    ({**SCRAM, **PASSWORD, **GRANT}, f"TOKEN_URL cannot be used with {MECHANISM} SCRAM-SHA-512."),
    ({**OAUTH, **GRANT, **PASSWORD}, f"USERNAME cannot be used with {MECHANISM} OAUTHBEARER."),
    (OAUTH, ONE_OF_BOTH),
    ({**OAUTH, **GRANT, "token_file": "/token"}, ONE_OF_BOTH),
    ({**OAUTH, **GRANT, "client_id": ""}, "CLIENT_ID must be set for CALLFOLD_KAFKA_TOKEN_URL."),
    ({**OAUTH, **GRANT, "client_secret": ""}, "CLIENT_SECRET must be set for CALLFOLD_KAFKA_TOKEN_URL."),
    (
        {**OAUTH, "token_file": "/token", "token_scope": "x"},
        "TOKEN_SCOPE cannot be used with CALLFOLD_KAFKA_TOKEN_FILE.",
    ),
    (
        {**OAUTH, **GRANT, "token_url": "identity/token"},
        "TOKEN_URL must be a URL such as https://identity.example.com/token.",
    ),
    *(
        (
            {**OAUTH, **GRANT, "token_url": f"https://{userinfo}@identity.example.com/token"},
            "TOKEN_URL must be a URL such as https://identity.example.com/token, without a user or password "
            "in it.",
        )
        for userinfo in (f"callfold:{SECRET}", SECRET)
    ),
    *(
        (
            {**OAUTH, **GRANT, "token_url": f"http://{host}/token"},
            "TOKEN_URL must begin with https:// unless its host is this machine.",
        )
        for host in ("identity.example.com", "192.0.2.1:8080", "127.0.0.1.example.com")
    ),
    (
        {**SSL, "ca_file": "nowhere.pem"},
        "CA_FILE must name a readable file (No such file or directory).",
    ),
    ({**SSL, "ca_file": "."}, "CA_FILE must name a readable file (Is a directory)."),
    ({**SSL, "ca_file": "text"}, "CA_FILE must hold certificates in PEM."),
    ({**SSL, "key_file": "key.pem"}, "KEY_FILE needs CALLFOLD_KAFKA_CERTIFICATE_FILE."),
    ({**SSL, "key_password": SECRET}, "KEY_PASSWORD needs CALLFOLD_KAFKA_CERTIFICATE_FILE."),
    (CERTIFICATE, IN_PEM.format("CERTIFICATE_FILE")),
    ({**SSL, "certificate_file": "text", "key_file": "key.pem"}, IN_PEM.format("KEY_FILE")),
    (
        {**CERTIFICATE, "key_file": "other.pem"},
        "KEY_FILE must hold the key of CALLFOLD_KAFKA_CERTIFICATE_FILE.",
    ),
    ({**CERTIFICATE, "key_file": "encrypted.pem"}, KEY_PASSWORD),
    ({**CERTIFICATE, "key_file": "encrypted.pem", "key_password": f"not-{SECRET}"}, KEY_PASSWORD),
]

GOOD: list[dict[str, str]] = [
    {},
    SSL,
    {**SSL, "ca_file": "ca.pem"},
    {**SSL, "certificate_file": "both.pem"},
    {**CERTIFICATE, "key_file": "key.pem"},
    {**CERTIFICATE, "key_file": "encrypted.pem", "key_password": SECRET},
    {**SASL, **PASSWORD},
    {**SCRAM, **PASSWORD, "ca_file": "ca.pem"},
    {**SCRAM, **PASSWORD, "security_protocol": "SASL_PLAINTEXT"},
    {**OAUTH, **GRANT},
    *(
        {**OAUTH, **GRANT, "token_url": f"http://{host}/token"}
        for host in ("localhost:8080", "127.0.0.1", "[::1]")
    ),
    {**OAUTH, **GRANT, "token_scope": "kafka"},
    {**OAUTH, "token_file": "/run/secrets/token"},
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority, a certificate with its key (also encrypted, and in one file), and files that are
    neither."""
    ca = trustme.CA()
    certificate, other = ca.issue_cert("callfold.example.com"), ca.issue_cert("other.example.com")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    other.private_key_pem.write_to_path(tmp_path / "other.pem")
    (tmp_path / "encrypted.pem").write_bytes(pkcs8(certificate.private_key_pem, SECRET))
    (tmp_path / "text").write_text("text")
    monkeypatch.chdir(tmp_path)


def set_all(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"CALLFOLD_KAFKA_{name.upper()}", value)


@pytest.mark.parametrize(("settings", "sentence"), WRONG)
def test_what_does_not_go_together_is_named_with_its_rule(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], sentence: str
) -> None:
    set_all(monkeypatch, settings)
    with pytest.raises(InvalidSetting) as caught:
        IngestSettings()
    assert str(caught.value) == f"CALLFOLD_KAFKA_{sentence}"


@pytest.mark.parametrize("settings", GOOD)
async def test_what_goes_together_makes_clients_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    set_all(monkeypatch, settings)
    read = KafkaSettings()
    assert client_options(read)["security_protocol"] == settings.get("security_protocol", "PLAINTEXT")
    assert SECRET not in f"{read} {read!r} {read.model_dump()} {read.model_dump_json()}"


async def test_an_address_alone_is_a_broker_without_security(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**SASL, **PASSWORD})
    assert client_options("127.0.0.1:9092") == {"bootstrap_servers": "127.0.0.1:9092"}


def test_a_broker_must_always_prove_who_it_is() -> None:
    own = KafkaSettings(kafka_security_protocol="SSL", kafka_ca_file=Path("ca.pem"))
    for settings in (own, KafkaSettings(kafka_security_protocol="SSL")):
        context = settings.ssl_context()
        assert context.check_hostname
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(own.ssl_context().get_ca_certs()) == 1, "an own authority is the only one"


def test_of_several_brokers_reasons_the_one_that_does_not_pass_counts() -> None:
    refused, away = SaslAuthenticationFailed("wrong password"), ConnectionRefusedError("away")
    no_broker = KafkaConnectionError("Unable to bootstrap")
    assert cause(no_broker, [refused, away]) is refused
    assert cause(no_broker, [OSError("gone"), away]) is away
    assert cause(no_broker, []) is no_broker
    assert cause(refused, [away]) is refused

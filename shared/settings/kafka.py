"""The settings of Kafka, and the rules for their combinations."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from shared.settings.base import PREFIX, Settings
from shared.settings.checks import ReadableFile, check_hosts, check_token_url, web_url
from shared.settings.kafka_tls import ssl_context

DELIVERIES_TOPIC: Final = "call-deliveries"


class KafkaSettings(Settings):
    kafka_bootstrap: Annotated[str, AfterValidator(check_hosts)] = Field(
        "127.0.0.1:9092",
        description="Addresses of Kafka brokers to connect to first, each as host:port, separated by commas.",
    )
    topic: str = Field(
        "call-events",
        min_length=1,
        description="The Kafka topic of call events. Ingest and the aggregator must have the same value.",
    )
    deliveries_topic: str = Field(
        DELIVERIES_TOPIC,
        min_length=1,
        description="The Kafka topic of deliveries: requests that the receiver accepted. The receiver and "
        "ingest must have the same value.",
    )
    calls_topic: str = Field(
        "calls",
        min_length=1,
        description="The Kafka topic of calls, to which the publisher writes each changed call.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="The protocol of connections to Kafka. Use SASL_SSL or SSL on a network that is not "
        "trusted.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN",
        description="The SASL mechanism. It applies only to the protocols SASL_SSL and SASL_PLAINTEXT.",
    )
    kafka_username: str | None = Field(
        None, description="The user name for the SASL mechanisms PLAIN and SCRAM."
    )
    kafka_password: SecretStr | None = Field(
        None, description="The password for the SASL mechanisms PLAIN and SCRAM."
    )
    kafka_ca_file: ReadableFile | None = Field(
        None,
        description="A PEM file with the certificate authorities that sign the brokers' certificates. "
        "Without it, the system's authorities are trusted.",
    )
    kafka_certificate_file: ReadableFile | None = Field(
        None, description="A PEM file with the client certificate, for brokers that require one."
    )
    kafka_key_file: ReadableFile | None = Field(
        None,
        description="A PEM file with the client certificate's private key. Without it, the key is read from "
        "CALLFOLD_KAFKA_CERTIFICATE_FILE.",
    )
    kafka_key_password: SecretStr | None = Field(
        None, description="The password of the private key, if the key is encrypted."
    )
    kafka_token_url: (
        Annotated[str, web_url("https://identity.example.com/token"), AfterValidator(check_token_url)] | None
    ) = Field(
        None,
        description="OAUTHBEARER: the token endpoint of the client credentials grant. Set it or "
        "CALLFOLD_KAFKA_TOKEN_FILE.",
    )
    kafka_token_file: Path | None = Field(
        None,
        description="OAUTHBEARER: a file that contains the token. It is read again each time a token is "
        "needed.",
    )
    kafka_client_id: str | None = Field(
        None, description="OAUTHBEARER: the client id that CALLFOLD_KAFKA_TOKEN_URL requires."
    )
    kafka_client_secret: SecretStr | None = Field(
        None, description="OAUTHBEARER: the client secret that CALLFOLD_KAFKA_TOKEN_URL requires."
    )
    kafka_token_scope: str | None = Field(
        None,
        description="OAUTHBEARER: the scope to request at CALLFOLD_KAFKA_TOKEN_URL. Without it, none is "
        "requested.",
    )

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        for broken in _broken_rules(self):
            raise ValueError(broken)
        if self.uses_tls:
            self.ssl_context()
        return self

    @property
    def uses_tls(self) -> bool:
        return self.kafka_security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        return self.kafka_security_protocol.startswith("SASL")

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context of settings with TLS. Raises ValueError if a file does not hold what its setting
        requires."""
        return ssl_context(
            ca_file=self.kafka_ca_file,
            certificate_file=self.kafka_certificate_file,
            key_file=self.kafka_key_file,
            key_password=self.kafka_key_password.get_secret_value() if self.kafka_key_password else None,
        )


_SASL: Final = (
    "kafka_sasl_mechanism",
    "kafka_username",
    "kafka_password",
    "kafka_token_url",
    "kafka_token_file",
    "kafka_client_id",
    "kafka_client_secret",
    "kafka_token_scope",
)
_TLS: Final = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file", "kafka_key_password")
_PASSWORD: Final = ("kafka_username", "kafka_password")
_TOKEN: Final = _SASL[3:]
_GRANT: Final = ("kafka_client_id", "kafka_client_secret")


def _broken_rules(settings: KafkaSettings) -> Iterator[str]:
    protocol = _name("kafka_security_protocol")
    if not settings.uses_sasl:
        for name in _given(settings, _SASL):
            yield f"{_name(name)} needs {protocol} to be SASL_SSL or SASL_PLAINTEXT."
    if not settings.uses_tls:
        for name in _given(settings, _TLS):
            yield f"{_name(name)} needs {protocol} to be SSL or SASL_SSL."
    for name in _given(settings, ("kafka_key_file", "kafka_key_password")):
        if not settings.kafka_certificate_file:
            yield f"{_name(name)} needs {_name('kafka_certificate_file')}."
    if settings.uses_sasl:
        yield from _broken_rules_of_sasl(settings)


def _broken_rules_of_sasl(settings: KafkaSettings) -> Iterator[str]:
    mechanism = f"{_name('kafka_sasl_mechanism')} {settings.kafka_sasl_mechanism}"
    if settings.kafka_sasl_mechanism != "OAUTHBEARER":
        for name in _missing(settings, _PASSWORD):
            yield f"{_name(name)} must be set for {mechanism}."
        for name in _given(settings, _TOKEN):
            yield f"{_name(name)} cannot be used with {mechanism}."
        return
    for name in _given(settings, _PASSWORD):
        yield f"{_name(name)} cannot be used with {mechanism}."
    if bool(settings.kafka_token_url) == bool(settings.kafka_token_file):
        one, other = _name("kafka_token_url"), _name("kafka_token_file")
        yield f"{one} or {other}, but not both, must be set for {mechanism}."
    if settings.kafka_token_url:
        for name in _missing(settings, _GRANT):
            yield f"{_name(name)} must be set for {_name('kafka_token_url')}."
    else:
        for name in _given(settings, (*_GRANT, "kafka_token_scope")):
            yield f"{_name(name)} cannot be used with {_name('kafka_token_file')}."


def _given(settings: KafkaSettings, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in settings.model_fields_set and _value(settings, name)]


def _missing(settings: KafkaSettings, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not _value(settings, name)]


def _value(settings: KafkaSettings, name: str) -> object:
    return getattr(settings, name)


def _name(field: str) -> str:
    return f"{PREFIX}{field.upper()}"

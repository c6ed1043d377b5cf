"""How Kafka is reached in a company: which settings go together, and the TLS context that they make."""

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shared.settings import KafkaSettings

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


def check(settings: "KafkaSettings") -> None:
    """Refuses settings that don't go together. Raises ValueError: one sentence that names the setting and the
    rule, and no secret."""
    for broken in _broken_rules(settings):
        raise ValueError(broken)
    if uses_tls(settings):
        ssl_context(settings)


def uses_tls(settings: "KafkaSettings") -> bool:
    return settings.kafka_security_protocol.endswith("SSL")


def uses_sasl(settings: "KafkaSettings") -> bool:
    return settings.kafka_security_protocol.startswith("SASL")


def ssl_context(settings: "KafkaSettings") -> ssl.SSLContext:
    """The context of settings with TLS: the broker's certificate and its name are always checked. Raises
    ValueError when a file is not what its setting says."""
    context = ssl.create_default_context()
    if settings.kafka_ca_file:
        # Instead of the machine's own authorities: who names one means no other.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(settings.kafka_ca_file)
        except (OSError, ValueError):
            raise ValueError(f"{_name('kafka_ca_file')} must hold certificates in PEM.") from None
    if settings.kafka_certificate_file:
        _load_certificate(context, settings)
    return context


def _load_certificate(context: ssl.SSLContext, settings: "KafkaSettings") -> None:
    file = _name("kafka_key_file" if settings.kafka_key_file else "kafka_certificate_file")
    asked = False

    def password() -> str:  # always given: without it, OpenSSL would ask on the terminal
        nonlocal asked
        asked = True
        return settings.kafka_key_password.get_secret_value() if settings.kafka_key_password else ""

    try:
        context.load_cert_chain(settings.kafka_certificate_file or "", settings.kafka_key_file, password)
    except (OSError, ValueError) as error:
        if asked:
            rule = f"{_name('kafka_key_password')} must be the password of the key in {file}."
        elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            rule = f"{file} must hold the key of {_name('kafka_certificate_file')}."
        else:
            rule = f"{_name('kafka_certificate_file')} must hold a certificate, and {file} its key, in PEM."
        raise ValueError(rule) from None


def _broken_rules(settings: "KafkaSettings") -> Iterator[str]:
    protocol = _name("kafka_security_protocol")
    if not uses_sasl(settings):
        for name in _given(settings, _SASL):
            yield f"{_name(name)} needs {protocol} to be SASL_SSL or SASL_PLAINTEXT."
    if not uses_tls(settings):
        for name in _given(settings, _TLS):
            yield f"{_name(name)} needs {protocol} to be SSL or SASL_SSL."
    for name in _given(settings, ("kafka_key_file", "kafka_key_password")):
        if not settings.kafka_certificate_file:
            yield f"{_name(name)} needs {_name('kafka_certificate_file')}."
    if uses_sasl(settings):
        yield from _broken_rules_of_sasl(settings)


def _broken_rules_of_sasl(settings: "KafkaSettings") -> Iterator[str]:
    mechanism = f"{_name('kafka_sasl_mechanism')} {settings.kafka_sasl_mechanism}"
    if settings.kafka_sasl_mechanism != "OAUTHBEARER":
        for name in _missing(settings, _PASSWORD):
            yield f"{_name(name)} must be set for {mechanism}."
        for name in _given(settings, _TOKEN):
            yield f"{_name(name)} does not go with {mechanism}."
        return
    for name in _given(settings, _PASSWORD):
        yield f"{_name(name)} does not go with {mechanism}."
    if bool(settings.kafka_token_url) == bool(settings.kafka_token_file):
        one, other = _name("kafka_token_url"), _name("kafka_token_file")
        yield f"{one} or {other}, and not both, must be set for {mechanism}."
    if settings.kafka_token_url:
        for name in _missing(settings, _GRANT):
            yield f"{_name(name)} must be set for {_name('kafka_token_url')}."
    else:
        for name in _given(settings, (*_GRANT, "kafka_token_scope")):
            yield f"{_name(name)} does not go with {_name('kafka_token_file')}."


def _given(settings: "KafkaSettings", names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in settings.model_fields_set and _value(settings, name)]


def _missing(settings: "KafkaSettings", names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not _value(settings, name)]


def _value(settings: "KafkaSettings", name: str) -> object:
    return getattr(settings, name)


def _name(field: str) -> str:
    return f"CALLFOLD_{field.upper()}"

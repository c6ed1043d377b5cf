"""The options of every aiokafka client of callfold, and the reasons for which a broker refuses one."""

import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from shared.kafka.connections import expect_closed_transports
from shared.kafka.header_names import read_any_header_name
from shared.kafka.token import ClientCredentials, TokenFile, read_refusals_of_tokens
from shared.settings.kafka import KafkaSettings

Broker = KafkaSettings | str
"""How a client reaches Kafka. An address alone is that of a broker without security, such as the embedded
one."""


class KafkaRefusal(Exception):
    """The broker refuses callfold, or callfold the broker, and waiting does not help. The text is a
    sentence."""


def mend_aiokafka() -> None:
    """Replaces parts of aiokafka in this process, once, before the first client is created:

    - `fetcher.MemoryRecords`, which raises on header names that are not UTF-8 (`shared.kafka.header_names`);
    - `conn.AIOKafkaConnection`, which does not handle that uvloop refuses to send on a connection that the
      broker reset (`shared.kafka.connections`);
    - `conn.OAuthAuthenticator`, which treats the refusal of a token as success (`shared.kafka.token`).

    docs/explanation/upstream.md lists them with the tests that fail when they are no longer needed. Raises
    UpstreamChanged if aiokafka no longer has a part that they rely on.
    """
    global _is_mended
    if not _is_mended:
        read_any_header_name()
        expect_closed_transports()
        read_refusals_of_tokens()
        _is_mended = True


_is_mended = False


def client_options(broker: Broker) -> dict[str, Any]:
    """The keyword arguments of any aiokafka client. Call it in the client's event loop."""
    mend_aiokafka()
    if isinstance(broker, str):
        return {"bootstrap_servers": broker}
    options: dict[str, Any] = {
        "bootstrap_servers": broker.kafka_bootstrap,
        "security_protocol": broker.kafka_security_protocol,
    }
    if broker.uses_tls:
        options["ssl_context"] = broker.ssl_context()
    if broker.uses_sasl:
        options["sasl_mechanism"] = broker.kafka_sasl_mechanism
        if broker.kafka_password:
            options["sasl_plain_username"] = broker.kafka_username
            options["sasl_plain_password"] = broker.kafka_password.get_secret_value()
        else:
            options["sasl_oauth_token_provider"] = _token_provider(broker)
    return options


def _token_provider(settings: KafkaSettings) -> AbstractTokenProvider | None:
    if settings.kafka_token_file:
        return TokenFile(settings.kafka_token_file)
    if settings.kafka_token_url and settings.kafka_client_id and settings.kafka_client_secret:
        return ClientCredentials(
            settings.kafka_token_url,
            settings.kafka_client_id,
            settings.kafka_client_secret,
            scope=settings.kafka_token_scope,
            ca_file=settings.kafka_ca_file,
        )
    return None


def address(broker: Broker) -> str:
    return broker if isinstance(broker, str) else broker.kafka_bootstrap


@contextmanager
def connection_faults(hear: Callable[[Exception], None]) -> Iterator[None]:
    """For the duration of the block, calls `hear` with each reason why aiokafka could not connect. aiokafka
    only logs the reason: its exception at the start has none, and when it reconnects it raises nothing."""
    listener = _Listener(hear)
    log = logging.getLogger("aiokafka")
    log.addHandler(listener)
    try:
        yield
    finally:
        log.removeHandler(listener)


class _Listener(logging.Handler):
    """Receives aiokafka's warnings. aiokafka's loggers must pass them at every CALLFOLD_LOG_LEVEL."""

    def __init__(self, hear: Callable[[Exception], None]) -> None:
        super().__init__(logging.WARNING)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        if record.module == "client" and isinstance(record.args, tuple):
            for argument in record.args:
                if isinstance(argument, Exception):
                    self._hear(argument)


def refusal(error: BaseException | None) -> str | None:
    """The reason of a permanent fault, as a part of a sentence; None for a temporary fault."""
    if error is None:
        return None
    if isinstance(error, SaslAuthenticationFailed | AuthenticationFailedError):
        return f"the broker refuses the credentials: {_message(error)}"
    if isinstance(error, UnsupportedSaslMechanismError | AuthenticationMethodNotSupported):
        return "the broker does not support the configured CALLFOLD_KAFKA_SASL_MECHANISM"
    if isinstance(error, IllegalSaslStateError):
        return "the broker's listener does not use SASL: CALLFOLD_KAFKA_SECURITY_PROTOCOL does not match it"
    if isinstance(error, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
        kind = "topic" if isinstance(error, TopicAuthorizationFailedError) else "group"
        return f"this user is not authorized for the {kind}: {_message(error)}"
    if isinstance(error, TransactionalIdAuthorizationFailed):
        return "this user is not authorized for the publisher's transactional id"
    if isinstance(error, InvalidTopicError):
        return f"the broker refuses the topic: {_message(error)}"
    if isinstance(error, ClusterAuthorizationFailedError):
        return f"this user is not authorized on the cluster: {_message(error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError) and _is_about_a_certificate(error):
        reason = error.reason.partition("ALERT_")[2].lower().replace("_", " ")
        return f"the broker refuses the client's certificate: {reason}"
    return refusal(error.__cause__)


def cause(error: Exception, heard: Sequence[Exception]) -> Exception:
    """The cause of a fault. If aiokafka's exception only reports a missing connection, it is one of the
    logged reasons, preferably a permanent one."""
    if not heard or not isinstance(error, KafkaConnectionError | NodeNotReadyError | TimeoutError):
        return error
    return next((one for one in heard if refusal(one)), heard[-1])


def fault(error: Exception) -> str:
    """Why a connection could not be opened, as a part of a sentence."""
    if refused := refusal(error):
        return refused
    if isinstance(error, ConnectionResetError) or (
        isinstance(error, KafkaConnectionError) and "closed" in str(error)
    ):
        setting = "CALLFOLD_KAFKA_SECURITY_PROTOCOL"
        return f"the broker closed the connection; check that {setting} matches its listener"
    if isinstance(error, KafkaTimeoutError | RequestTimedOutError):
        return _NO_ANSWER
    return _message(error)


_NO_ANSWER: Final = "the broker did not answer within callfold's time limit for a request"


def _is_about_a_certificate(error: ssl.SSLError) -> bool:
    reason = error.reason or ""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _message(error: BaseException) -> str:
    """The broker's message, without aiokafka's error numbers."""
    text = str(error.args[0]) if error.args and isinstance(error.args[0], str) else str(error)
    return text.rstrip(".") or type(error).__name__

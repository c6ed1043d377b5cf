"""Settings, read from the environment with the prefix `CALLFOLD_`: a class for each thing configured."""

import re
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.database_url import check_url
from shared.kafka_tls import ssl_context
from shared.plans import Plan, read_plans

PREFIX: Final = "CALLFOLD_"
JWT_SECRET_BYTES_MIN: Final = 32
"""As many as the signature itself has (RFC 7518, 3.2)."""
Pooler = Literal["none", "transaction"]


class InvalidSetting(ValueError):
    """A setting that is not as it must be; its text is a sentence that names it and the rule."""


@contextmanager
def exit_when_invalid() -> Iterator[None]:
    """Around the settings' reading in a process that can't go on without: says which is wrong, and ends."""
    try:
        yield
    except InvalidSetting as error:
        sys.exit(f"Error: {error}")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        """Reads the environment. Raises InvalidSetting."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # several settings that don't go together
                raise InvalidSetting(str(first["ctx"]["error"])) from None
            name = str(first["loc"][0])
            # The value itself is not shown: a database's URL has a password.
            rule = first.get("ctx", {}).get("error") or _rule(type(self).model_fields[name])
            raise InvalidSetting(f"{PREFIX}{name.upper()} must {rule}.") from None


def _rule(field: FieldInfo) -> str:
    """What a field must be, in words."""
    least = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    above = next((bound.gt for bound in field.metadata if isinstance(bound, Gt)), None)
    if field.annotation is int:
        span = "" if least is None else f", {least} or more" if most is None else f" from {least} to {most}"
        return f"be a whole number{span}"
    if field.annotation is float:
        if above is not None:
            return f"be a number greater than {above}"
        return "be a number" if most is None else f"be a number from {least} to {most}"
    choices = get_args(field.annotation)
    return f"be {', '.join(choices[:-1])} or {choices[-1]}" if choices else "not be empty"


def check_hosts(hosts: str) -> str:
    """Kafka's addresses. Raises ValueError with the rule."""
    for host in hosts.split(","):
        try:
            address = urlsplit(f"//{host.strip()}")
            known = address.hostname and address.port != 0
        except ValueError:
            known = None
        if not known:
            raise ValueError("be host:port, several separated by commas")
    return hosts


def check_file(file: Path) -> Path:
    """A file that is there. Raises ValueError with the rule."""
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise ValueError(f"name a file that can be read ({error.strerror})") from None


def web_url(example: str) -> AfterValidator:
    """Takes an address of the web without credentials, which belong in settings of their own: an address is
    logged."""

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
        except ValueError:
            known = None
        if not known:
            raise ValueError(f"be a URL such as {example}")
        if "@" in parts.netloc:
            raise ValueError(f"be a URL such as {example}, without a user or password in it")
        return url

    return AfterValidator(check)


def check_jwt_secret(secret: SecretStr) -> SecretStr:
    """Raises ValueError with the rule."""
    if len(secret.get_secret_value().encode()) < JWT_SECRET_BYTES_MIN:
        raise ValueError(f"have at least {JWT_SECRET_BYTES_MIN} letters")
    return secret


def parse_plans(text: object) -> object:
    """Plans as they are written. Raises ValueError with the rule."""
    if not isinstance(text, str):
        return text
    try:
        return read_plans(text)
    except ValueError as error:
        raise ValueError(f"be plans such as free=5/s,5000/day;pro=50/s ({error})") from None


def check_rate_limit_url(url: SecretStr) -> SecretStr:
    """Raises ValueError with the rule, without the password that may be in it."""
    try:
        parts = urlsplit(url.get_secret_value())
        known = (
            parts.scheme in ("valkey", "valkeys", "redis", "rediss") and parts.hostname and parts.port != 0
        )
    except ValueError:
        known = None
    if not known:
        raise ValueError(
            "be a URL such as valkey://host:6379/0, redis://, or with TLS valkeys:// or rediss://"
        )
    return url


def check_token_url(url: str) -> str:
    """A secret goes there, or keys to be trusted come from there. Raises ValueError with the rule."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_this_machine(parts.hostname):
        raise ValueError("begin with https:// unless its host is this machine")
    return url


def parse_networks(text: object) -> object:
    """Networks, separated by commas. Raises ValueError with the rule."""
    if not isinstance(text, str):
        return text
    try:
        return tuple(ip_network(network.strip()) for network in text.split(",") if network.strip())
    except ValueError:
        raise ValueError(
            "be networks such as 10.0.0.0/8, separated by commas, without bits of hosts"
        ) from None


_is_origin = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[1-9][0-9]{0,4})?").fullmatch
_PORTS_OF_SCHEMES: Final = ("http:80", "https:443")
"""What browsers leave out of an origin."""


def parse_origins(text: object) -> object:
    """Origins as browsers send them, separated by commas; or `*`. Raises ValueError with the rule."""
    if not isinstance(text, str):
        return text
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        scheme, _, host = origin.partition("://")
        known = _is_origin(origin) and f"{scheme}:{host.rpartition(':')[2]}" not in _PORTS_OF_SCHEMES
        if not known and origins != ("*",):
            raise ValueError(
                "be * or origins such as https://app.example.com, separated by commas: as browsers send "
                "them, in lower case, without a path and without the scheme's own port"
            )
    return origins


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


ReadableFile = Annotated[Path, AfterValidator(check_file)]


class LogSettings(Settings):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, JSON anywhere else"
    )


class MonitorSettings(Settings):
    """Metrics and health of a process, on a port of their own."""

    monitor_host: str = "127.0.0.1"
    monitor_port: int | None = Field(
        None, ge=1, le=65535, description="where /metrics and /health are; none unless it is set"
    )


class TelemetrySettings(Settings):
    """What needs the extra `telemetry`."""

    faststream_metrics: bool = Field(False, description="FastStream's own metrics beside callfold's")
    traces_url: Annotated[str, web_url("http://host:4318/v1/traces")] | None = Field(
        None,
        description="OTLP over HTTP, such as http://collector:4318/v1/traces; without it, no traces",
    )
    traces_ratio: float = Field(
        0.01, ge=0, le=1, description="share of the API's requests that are traced unless the client says so"
    )


class DatabaseSettings(Settings):
    database_url: Annotated[str, AfterValidator(check_url)] = Field(
        "postgresql://postgres@127.0.0.1:5432/callfold",
        repr=False,  # it may have a password in it
        description="PostgreSQL 15 or newer, as a libpq URL",
    )
    database_connect_timeout_seconds: float = Field(10, gt=0)
    database_pooler: Pooler = Field(
        "none",
        description="transaction: the URL is that of PgBouncer in transaction mode, where no session lasts",
    )


def check_ascii(password: SecretStr) -> SecretStr:
    text = password.get_secret_value()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("be of letters, digits and signs of ASCII")
    return password


class RolesSettings(Settings):
    """What `callfold migrate --roles` needs."""

    roles_password: Annotated[SecretStr, AfterValidator(check_ascii)] | None = Field(
        None, description="the password of each service's role; without it, whatever each has stays"
    )


class KafkaSettings(Settings):
    kafka_bootstrap: Annotated[str, AfterValidator(check_hosts)] = Field(
        "127.0.0.1:9092", description="host:port, several separated by commas"
    )
    topic: str = Field("call-events", min_length=1)
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: ReadableFile | None = Field(
        None, description="PEM; without it, the machine's own authorities"
    )
    kafka_certificate_file: ReadableFile | None = Field(
        None, description="PEM, for a broker that asks for one"
    )
    kafka_key_file: ReadableFile | None = Field(
        None, description="PEM; without it, the key is in the certificate's file"
    )
    kafka_key_password: SecretStr | None = None
    kafka_token_url: (
        Annotated[str, web_url("https://identity.example.com/token"), AfterValidator(check_token_url)] | None
    ) = Field(None, description="OAUTHBEARER: the token endpoint of the client-credentials grant")
    kafka_token_file: Path | None = Field(
        None, description="OAUTHBEARER: a file that holds the token, read anew whenever one is needed"
    )
    kafka_client_id: str | None = None
    kafka_client_secret: SecretStr | None = None
    kafka_token_scope: str | None = None

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
        """The context of settings with TLS. Raises ValueError when a file is not what its setting says."""
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


def _given(settings: KafkaSettings, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in settings.model_fields_set and _value(settings, name)]


def _missing(settings: KafkaSettings, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not _value(settings, name)]


def _value(settings: KafkaSettings, name: str) -> object:
    return getattr(settings, name)


def _name(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


class IngestSettings(DatabaseSettings, KafkaSettings, MonitorSettings, TelemetrySettings):
    consumer_group: str = Field("callfold-ingest", min_length=1)
    group_instance_id: str | None = Field(
        None,
        description="a name that stays with this process over restarts, so that its partitions wait for it; "
        "unique within the group",
    )
    session_timeout_seconds: float = Field(
        30, gt=0, description="silence after which the group takes this process for dead"
    )
    batch_records: int = Field(10_000, ge=1, le=100_000, description="the most records in one transaction")
    batch_linger_seconds: float = Field(
        0.02, gt=0, description="how long a poll waits for a first record, and a fruitless one for the next"
    )
    breaker_records: int = Field(
        1_000, ge=1, description="the window of the last records that is watched for bad ones"
    )
    breaker_share: float = Field(
        0.5, ge=0, le=1, description="ingest pauses when more than this share of them is bad; 1: never"
    )
    unknown_organizations: Literal["create", "quarantine"] = Field(
        "create",
        description="what to do with events of an organization that nobody created",
    )
    stop_timeout_seconds: float = Field(
        5,
        gt=0,
        description="how long a stop waits for the batch in hand; the whole of a stop takes up to 4 s more, "
        "and containers are killed after 10",
    )


class AggregatorSettings(DatabaseSettings, MonitorSettings):
    topic: str = Field(
        "call-events", min_length=1, description="the topic by whose reading silent calls are judged"
    )
    aggregate_deltas: int = Field(20_000, ge=1, description="the most deltas applied in one statement")
    aggregate_rest_seconds: float = Field(
        0.25,
        gt=0,
        description="how long it rests after it applied some: a row of counts is written once for what comes "
        "meanwhile; no answer depends on it",
    )
    aggregate_interval_seconds: float = Field(1, gt=0, description="the longest wait between two looks")
    chores_interval_seconds: float = Field(
        300, gt=0, description="how long it rests between ending silent calls and applying retention"
    )
    silence_hours: float = Field(4, gt=0, description="silence after which a call that has no end gets one")
    prune_counts: Literal["keep", "drop"] = Field(
        "keep", description="whether what calls beyond retention were counted for stays counted"
    )


class TokenSettings(Settings):
    """The JWTs of Supabase Auth by which users ask; without a secret and a JWKS, no token is taken."""

    jwt_secret: Annotated[SecretStr, AfterValidator(check_jwt_secret)] | None = Field(
        None, description="what tokens of HS256 are signed with"
    )
    jwt_jwks_url: (
        Annotated[
            str,
            web_url("https://project.supabase.co/auth/v1/.well-known/jwks.json"),
            AfterValidator(check_token_url),
        ]
        | None
    ) = Field(None, description="where the public keys of RS256 and ES256 are published")
    jwt_jwks_file: ReadableFile | None = Field(
        None,
        description="a file with those keys in place of a URL; it is read again when it may have changed",
    )
    jwt_audience: str = Field("authenticated", min_length=1, description="what a token's aud must be or have")
    jwt_issuer: str | None = Field(
        None, min_length=1, description="what a token's iss must be; without it, any that has the right key"
    )

    @model_validator(mode="after")
    def _one_place_of_keys(self) -> Self:
        if self.jwt_jwks_url is not None and self.jwt_jwks_file is not None:
            raise ValueError(
                f"{PREFIX}JWT_JWKS_URL and {PREFIX}JWT_JWKS_FILE are two places for one thing: set one."
            )
        return self


class LimitSettings(Settings):
    plans: Annotated[Mapping[str, Plan], NoDecode, BeforeValidator(parse_plans)] = Field(
        default_factory=lambda: read_plans(""),
        description="how many requests a key or a user may make, by the plan of the organization: "
        "free=5/s,5000/day;pro=50/s",
    )
    rate_limit_url: Annotated[SecretStr, AfterValidator(check_rate_limit_url)] | None = Field(
        None, description="Valkey or Redis, where the processes count together; without it each counts alone"
    )


class ApiSettings(DatabaseSettings, MonitorSettings, TelemetrySettings, TokenSettings, LimitSettings):
    api_replica_url: Annotated[str, AfterValidator(check_url)] | None = Field(
        None,
        repr=False,
        description="where to read from; keys and deletes stay at CALLFOLD_DATABASE_URL",
    )
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65535)
    api_connections: int = Field(1000, ge=1, description="of clients; further ones are answered 503")
    api_keep_alive_seconds: int = Field(65, ge=1, description="how long a client's connection may be idle")
    api_client_seconds: float = Field(
        10, gt=0, description="how long a client may take to ask, and to read on, before it is cut off"
    )
    api_pool_connections: int = Field(10, ge=1)
    api_pool_wait_seconds: float = Field(2, gt=0, description="then a request is answered 503")
    api_statement_timeout_seconds: float = Field(10, gt=0)
    api_export_connections: int = Field(
        2,
        ge=1,
        description="how many exports run at once, all but one of them of one organization; another is 503",
    )
    api_export_seconds: float = Field(900, gt=0, description="how long one export may take")
    api_search_calls: int = Field(
        200_000, ge=1, description="the most calls that a list may look at for what no index or count knows"
    )
    api_key_use_interval_seconds: float = Field(
        60, gt=0, description="how long a key's last use may wait to be written down"
    )
    api_trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(parse_networks)
    ] = Field((), description="networks of proxies whose X-Forwarded-For is believed, separated by commas")
    api_cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_origins)] = Field(
        (),
        description="origins whose pages may read the API's answers in a browser, separated by commas; * for "
        "all; without it, none",
    )
    recording_store_url: Annotated[str, web_url("https://example.s3.amazonaws.com/")] | None = Field(
        None,
        description="what the URLs of recordings begin with whose links are to be signed as S3 has it: "
        "endpoint, bucket, folder; without it every link is its source's",
    )
    recording_store_region: str = "us-east-1"
    recording_store_key_id: str | None = None
    recording_store_secret: SecretStr | None = None
    recording_link_seconds: int = Field(300, ge=1, le=604_800, description="how long such a link works")
    api_answers_mib: float = Field(
        16, ge=0, description="stats and trends kept for as long as nothing changes; 0: none are"
    )

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.recording_store_url and not (self.recording_store_key_id and self.recording_store_secret):
            needed = f"{PREFIX}RECORDING_STORE_KEY_ID and {PREFIX}RECORDING_STORE_SECRET"
            raise ValueError(f"{PREFIX}RECORDING_STORE_URL needs {needed} to sign links with.")
        return self


ALL_SETTINGS: Final = (LogSettings, IngestSettings, AggregatorSettings, ApiSettings, RolesSettings)
"""The classes that together have every setting."""


def misspelt(names: Iterable[str]) -> list[str]:
    """A sentence for each variable that is nearly named as a setting is: it would be passed over in silence.
    Others that begin with `CALLFOLD_` may be somebody's own."""
    known = {f"{PREFIX}{field.upper()}" for of in ALL_SETTINGS for field in of.model_fields}
    others = sorted(name for name in names if name.startswith(PREFIX) and name.upper() not in known)
    return [
        f"{name} is no setting, and does nothing: did you mean {near[0]}?"
        for name in others
        if (near := get_close_matches(name, known, n=1, cutoff=0.9))
    ]

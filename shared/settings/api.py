"""The settings of the API: its server, tokens, rate limits and recordings."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from shared.plans import Plan, read_plans
from shared.settings.admin import AdminSettings
from shared.settings.base import PREFIX, Settings
from shared.settings.checks import (
    ReadableFile,
    check_jwt_secret,
    check_rate_limit_url,
    check_token_url,
    parse_networks,
    parse_origins,
    parse_plans,
    web_url,
)
from shared.settings.database import DatabaseSettings
from shared.settings.database_url import check_url
from shared.settings.process import TelemetrySettings
from shared.settings.secrets import SecretsSettings
from shared.settings.streams import StreamSettings
from shared.settings.webhooks import WebhookTargetSettings


class TokenSettings(Settings):
    """The JWTs of Supabase Auth with which users authenticate. Without a secret and without a JWKS, the API
    accepts no token."""

    jwt_secret: Annotated[SecretStr, AfterValidator(check_jwt_secret)] | None = Field(
        None,
        description="The shared secret of tokens signed with HS256. Set it if Supabase Auth signs with its "
        "legacy JWT secret.",
    )
    jwt_jwks_url: (
        Annotated[
            str,
            web_url("https://project.supabase.co/auth/v1/.well-known/jwks.json"),
            AfterValidator(check_token_url),
        ]
        | None
    ) = Field(
        None,
        description="The URL of the JWKS with the public keys of tokens signed with RS256 or ES256. Set it "
        "or CALLFOLD_JWT_JWKS_FILE.",
    )
    jwt_jwks_file: ReadableFile | None = Field(
        None,
        description="A file with the JWKS, for an API that cannot reach its URL. It is read again when it "
        "may have changed.",
    )
    jwt_audience: str = Field(
        "authenticated", min_length=1, description="The audience (aud) that a token must have."
    )
    jwt_issuer: str | None = Field(
        None,
        min_length=1,
        description="The issuer (iss) that a token must have. Without it, a token of any issuer is accepted "
        "if its signature is valid.",
    )

    @property
    def accepts_tokens(self) -> bool:
        return any((self.jwt_secret, self.jwt_jwks_url, self.jwt_jwks_file))

    @model_validator(mode="after")
    def _one_place_of_keys(self) -> Self:
        if self.jwt_jwks_url is not None and self.jwt_jwks_file is not None:
            raise ValueError(
                f"{PREFIX}JWT_JWKS_URL and {PREFIX}JWT_JWKS_FILE both name the source of the keys: "
                "set only one."
            )
        return self


class LimitSettings(Settings):
    plans: Annotated[Mapping[str, Plan], NoDecode, BeforeValidator(parse_plans)] = Field(
        default_factory=lambda: read_plans(""),
        description="The request limits of each plan, per key or user, such as free=5/s,5000/day;pro=50/s. "
        "An organization without a plan has the plan unlimited.",
    )
    rate_limit_url: Annotated[SecretStr, AfterValidator(check_rate_limit_url)] | None = Field(
        None,
        description="The URL of a Valkey or Redis server in which all API processes count requests together. "
        "Without it, each process counts separately.",
    )


class ApiSettings(
    DatabaseSettings,
    SecretsSettings,
    WebhookTargetSettings,
    AdminSettings,
    TelemetrySettings,
    TokenSettings,
    LimitSettings,
    StreamSettings,
):
    api_replica_url: Annotated[str, AfterValidator(check_url)] | None = Field(
        None,
        repr=False,
        description="The read replica that answers reads, as a libpq URL of one server. Keys are checked and "
        "calls are deleted at CALLFOLD_DATABASE_URL.",
    )
    topic: str = Field(
        "call-events",
        min_length=1,
        description="The Kafka topic that the AsyncAPI document names. Set it to the topic that ingest "
        "reads.",
    )
    api_host: str = Field(
        "127.0.0.1",
        description="The address on which the API listens. Set it to 0.0.0.0 in a container.",
    )
    api_port: int = Field(8000, ge=1, le=65535, description="The port on which the API listens.")
    api_connections: int = Field(
        1000,
        ge=1,
        description="The maximum number of client connections of one process. Further clients are answered "
        "503.",
    )
    api_keep_alive_seconds: int = Field(
        65,
        ge=1,
        description="Seconds after which an idle client connection is closed. Keep it longer than the idle "
        "timeout of the load balancer, often 60.",
    )
    api_client_seconds: float = Field(
        10,
        gt=0,
        description="Seconds that a client may take to send a request, or to read more of an answer. Slower "
        "clients are disconnected.",
    )
    api_pool_connections: int = Field(
        10,
        ge=1,
        description="The maximum number of database connections of one process for requests. A replica gets "
        "a pool of the same size.",
    )
    api_pool_wait_seconds: float = Field(
        2,
        gt=0,
        description="Seconds that a request waits for a free database connection. After that it is answered "
        "503.",
    )
    api_statement_timeout_seconds: float = Field(
        10,
        gt=0,
        description="Seconds after which the database cancels a statement of a request, except of exports.",
    )
    api_export_connections: int = Field(
        2,
        ge=1,
        description="The maximum number of exports that one process runs at once; further ones are answered "
        "503. One organization gets at most all but one of them.",
    )
    api_export_seconds: float = Field(900, gt=0, description="Seconds that one export may take.")
    api_search_calls: int = Field(
        200_000,
        ge=1,
        description="The maximum number of calls that a list may scan for filters without an index or a "
        "count. Beyond it, the API answers 400 TOO_MANY_CALLS.",
    )
    api_key_use_interval_seconds: float = Field(
        60,
        gt=0,
        description="The maximum number of seconds before a key's last use is written to the database.",
    )
    api_trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(parse_networks)
    ] = Field(
        (),
        description="Networks of proxies whose X-Forwarded-For header is trusted, separated by commas. Set "
        "it when the API runs behind a load balancer.",
    )
    api_cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_origins)] = Field(
        (),
        description="Origins whose pages may read the API's answers in a browser, separated by commas; * "
        "allows all. Without it, no origin may.",
    )
    recording_store_url: Annotated[str, web_url("https://example.s3.amazonaws.com/")] | None = Field(
        None,
        description="The common prefix (endpoint, bucket, folder) of the URLs of recordings in an S3 store, "
        "to which the API signs links. Without it, the API returns each URL as the event gave it.",
    )
    recording_store_region: str = Field(
        "us-east-1", description="The region of the recording store, as its signatures name it."
    )
    recording_store_key_id: str | None = Field(
        None,
        description="The access key id with which links are signed. Required with "
        "CALLFOLD_RECORDING_STORE_URL.",
    )
    recording_store_secret: SecretStr | None = Field(
        None,
        description="The secret access key with which links are signed. Required with "
        "CALLFOLD_RECORDING_STORE_URL.",
    )
    recording_link_seconds: int = Field(
        300, ge=1, le=604_800, description="Seconds until a signed link to a recording expires."
    )
    api_answers_mib: float = Field(
        16,
        ge=0,
        description="Memory in MiB for cached answers of stats and trends, which are valid until the "
        "organization's counts change. 0 turns the cache off.",
    )

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.recording_store_url and not (self.recording_store_key_id and self.recording_store_secret):
            needed = f"{PREFIX}RECORDING_STORE_KEY_ID and {PREFIX}RECORDING_STORE_SECRET"
            raise ValueError(f"{PREFIX}RECORDING_STORE_URL requires {needed}, which sign the links.")
        return self

"""The settings of the API: its server, tokens, rate limits and recordings."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from shared.plans import Plan, read_plans
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
from shared.settings.process import MonitorSettings, TelemetrySettings


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
    topic: str = Field(
        "call-events", min_length=1, description="the topic that the AsyncAPI document names; as for ingest"
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

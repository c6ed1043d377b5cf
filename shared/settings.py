"""Settings, read from the environment with the prefix `CALLFOLD_`: a class for each thing configured."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "CALLFOLD_"


class InvalidSetting(ValueError):
    """A setting that is not as it must be; its text is a sentence that names it and the rule."""


@contextmanager
def exit_when_invalid() -> Iterator[None]:
    """Around the settings' reading in a process that can't go on without: says which is wrong, and ends."""
    try:
        yield
    except InvalidSetting as error:
        sys.exit(f"Error: {error}")


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        """Reads the environment. Raises InvalidSetting."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
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
        return "be a number" if above is None else f"be a number greater than {above}"
    choices = get_args(field.annotation)
    return f"be {', '.join(choices[:-1])} or {choices[-1]}" if choices else "not be empty"


def _check_url(url: str) -> str:
    """A libpq URL, of one host or several. Raises ValueError with the rule."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("begin with postgresql://")
    try:
        for host in urlsplit(url).netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        raise ValueError("be a URL such as postgresql://user@host:5432/database") from None
    return url


def _check_hosts(hosts: str) -> str:
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


class LogSettings(_Settings):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class DatabaseSettings(_Settings):
    database_url: Annotated[str, AfterValidator(_check_url)] = Field(
        "postgresql://postgres@127.0.0.1:5432/callfold",
        description="PostgreSQL 15 or newer, as a libpq URL",
    )
    database_connect_timeout_seconds: float = Field(10, gt=0)


class KafkaSettings(_Settings):
    kafka_bootstrap: Annotated[str, AfterValidator(_check_hosts)] = Field(
        "127.0.0.1:9092", description="host:port, several separated by commas"
    )
    topic: str = Field("call-events", min_length=1)


class IngestSettings(DatabaseSettings, KafkaSettings):
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
    unknown_organizations: Literal["create", "quarantine"] = Field(
        "create",
        description="what to do with events of an organization that nobody created",
    )
    stop_timeout_seconds: float = Field(15, gt=0, description="how long a stop waits for the batch in hand")


class AggregatorSettings(DatabaseSettings):
    aggregate_deltas: int = Field(20_000, ge=1, description="the most deltas applied in one statement")
    aggregate_interval_seconds: float = Field(1, gt=0, description="the longest wait between two looks")


class ApiSettings(DatabaseSettings):
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65535)
    api_pool_connections: int = Field(10, ge=1)
    api_pool_wait_seconds: float = Field(2, gt=0, description="then a request is answered 503")
    api_statement_timeout_seconds: float = Field(10, gt=0)

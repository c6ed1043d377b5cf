"""docs/reference/settings.md: every setting, from the classes in shared/settings."""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from services.ops.reference.markdown import page, sentence, table
from shared.settings import checks
from shared.settings.admin import AdminSettings
from shared.settings.aggregator import AggregatorSettings
from shared.settings.api import ApiSettings, LimitSettings, TokenSettings
from shared.settings.base import PREFIX, Settings
from shared.settings.database import DatabaseSettings, RolesSettings
from shared.settings.database_url import check_url
from shared.settings.ingest import IngestSettings
from shared.settings.kafka import KafkaSettings
from shared.settings.process import LogSettings, MonitorSettings, TelemetrySettings
from shared.settings.publisher import PublisherSettings
from shared.settings.receiver import ReceiverSettings
from shared.settings.secrets import SecretsSettings, check_keys
from shared.settings.streams import StreamSettings
from shared.settings.webhooks import WebhooksSettings, WebhookTargetSettings

_OPENING: Final = """
# Settings

*Generated from the classes in shared/settings by `python -m services.ops.reference`.*

Settings are environment variables whose names begin with `CALLFOLD_`. All are optional.
*Secret* values are never logged or printed.

**Reading.** A process reads its settings when it starts, before it connects to a server. If one is invalid,
the process prints `Error:` with its name and the rule, and exits with status 1.

**Misspelt names.** A variable whose name resembles a setting is reported with the name of that setting. A
service logs this warning, and `callfold` prints it on standard error. Other variables that begin with
`CALLFOLD_` are ignored.

**Deprecated names.** After a setting gets a new name, its old name is read while the new one is not set. The
process warns in the same way.

**Docker Compose** reads settings from the file `.env`. `.env.example` lists those that
`docker-compose.yml` passes to the services.

**Kubernetes** reads them from a ConfigMap and a Secret
([Deploy on Kubernetes](../how-to/deploy-on-kubernetes.md)).

**`callfold up`** passes its environment to the services that it starts. It omits settings of Kafka and
sets the addresses itself.
"""


class Section(NamedTuple):
    """A class of settings on the page."""

    title: str
    settings: type[Settings]
    commands: str = ""
    """The commands that read it, in words."""


SECTIONS: Final = (
    Section("Database", DatabaseSettings, "each `callfold` command that connects to PostgreSQL"),
    Section("Roles", RolesSettings, "`callfold migrate`"),
    Section(
        "Kafka",
        KafkaSettings,
        "the API for streams of changes, and each `callfold` command that connects to Kafka",
    ),
    Section("Receiver", ReceiverSettings),
    Section("Secrets", SecretsSettings, "`callfold source` and `callfold webhook`"),
    Section("Ingest", IngestSettings, "`callfold up`, `demo`, `lag` and `replay`"),
    Section("Aggregator", AggregatorSettings, "`callfold reap` and `prune`"),
    Section("Publisher", PublisherSettings),
    Section("Networks of webhooks", WebhookTargetSettings, "`callfold webhook`"),
    Section("Webhooks", WebhooksSettings),
    Section("API", ApiSettings),
    Section("Streams of changes", StreamSettings),
    Section("Users' tokens", TokenSettings),
    Section("Admin API", AdminSettings),
    Section("Rate limits", LimitSettings, "`callfold org set-plan`"),
    Section("Logs", LogSettings),
    Section("Monitor", MonitorSettings),
    Section("Metrics of FastStream, and traces", TelemetrySettings),
)

_SERVICES: Final = {
    "the receiver": ReceiverSettings,
    "ingest": IngestSettings,
    "the aggregator": AggregatorSettings,
    "the publisher": PublisherSettings,
    "webhooks": WebhooksSettings,
    "the API": ApiSettings,
}

_UNITS: Final = {"seconds": "s", "hours": "h", "mib": "MiB"}
"""The unit of a number, by the last word of the setting's name."""

_FORMS: Final[dict[Callable[..., Any], str]] = {
    check_url: "URL that begins with `postgresql://`",
    checks.check_hosts: "`host:port`, several separated by commas",
    checks.check_file: "path of a readable file",
    checks.check_token_url: "with `https` unless its host is this machine",
    checks.check_rate_limit_url: "URL that begins with `valkey://`, `valkeys://`, `redis://` or `rediss://`",
    checks.check_jwt_secret: f"at least {checks.JWT_SECRET_BYTES_MIN} bytes",
    checks.check_admin_token: f"at least {checks.ADMIN_TOKEN_CHARACTERS_MIN} characters of printable ASCII",
    checks.check_ascii: "printable ASCII",
    checks.parse_networks: "networks such as `10.0.0.0/8`, separated by commas",
    checks.parse_origins: "origins such as `https://app.example.com`, separated by commas, or `*`",
    check_keys: "keys, separated by commas",
    checks.parse_plans: "plans such as `free=5/s,5000/day;pro=50/s`",
}
"""The form of a text value, by the function that checks it."""


def page_of_settings() -> str:
    """The page, in Markdown."""
    return page(_OPENING, *(part for section in SECTIONS for part in _section(section)))


def own_fields(of: type[Settings]) -> dict[str, FieldInfo]:
    """The fields that the class itself declares, by name."""
    return {name: field for name, field in of.model_fields.items() if name in of.__annotations__}


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    readers = [name for name, of in _SERVICES.items() if issubclass(of, section.settings)]
    if section.settings is LogSettings:  # each service reads these before its own
        readers = list(_SERVICES)
    yield f"Read by {_listed([*readers, *filter(None, [section.commands])])}."
    yield table(
        ("variable", "value", "default", "description"),
        [
            (f"`{PREFIX}{name.upper()}`", value_of(name, field), default_of(name, field), _description(field))
            for name, field in own_fields(section.settings).items()
        ],
    )


def _description(field: FieldInfo) -> str:
    return sentence(field.description or "")


def value_of(name: str, field: FieldInfo) -> str:
    """The values that a field takes, in words. Raises KeyError for a check that `_FORMS` lacks."""
    kind, metadata = _unwrapped(field.annotation, list(field.metadata))
    secret = ", secret" if kind is SecretStr or not field.repr else ""
    forms = list(_forms(metadata))
    if forms:
        return ", ".join(forms) + secret
    if get_origin(kind) is Literal:
        return _listed([f"`{choice}`" for choice in get_args(kind)], "or")
    if kind is bool:
        return "`true` or `false`"
    if kind in (int, float):
        unit = _unit(name)
        number = "whole number" if kind is int else "number"
        return number + (f" of {unit}" if unit else "") + _bounds(metadata)
    return {str: "text", SecretStr: "text", Path: "path of a file"}[kind] + secret


def default_of(name: str, field: FieldInfo) -> str:
    """The default as an operator would write it, with its unit."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int | float):
        return " ".join(
            filter(None, [f"`{default:g}`" if default < 1 else f"`{default}`", _UNITS.get(_unit(name))])
        )
    if isinstance(default, str):
        return f"`{default}`"
    return "not set"


def _unit(name: str) -> str:
    word = name.rpartition("_")[2]
    return {"mib": "MiB"}.get(word, word) if word in _UNITS else ""


def _unwrapped(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """The type itself with everything that restricts it, without `None` and `Annotated`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _unwrapped(inner, [*more, *metadata])
    if origin in (Union, UnionType) and IPv4Network not in get_args(annotation):
        (inner,) = (choice for choice in get_args(annotation) if choice is not type(None))
        return _unwrapped(inner, metadata)
    return annotation, metadata


def _forms(metadata: Iterable[Any]) -> Iterator[str]:
    for check in metadata:
        if isinstance(check, AfterValidator | BeforeValidator):
            yield "URL" if isinstance(check.func, checks.WebUrl) else _FORMS[check.func]


def _bounds(metadata: Iterable[Any]) -> str:
    least = most = above = None
    for bound in metadata:
        match bound:
            case Ge():
                least = bound.ge
            case Le():
                most = bound.le
            case Gt():
                above = bound.gt
    if above is not None:
        return f", greater than {above}"
    if least is not None and most is not None:
        return f", from {least:,} to {most:,}"
    return "" if least is None else f", at least {least:,}"


def _listed(words: list[str], last: str = "and") -> str:
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end

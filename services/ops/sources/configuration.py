"""The configuration of a source, as an operator types it: checked against its dialect."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import read_uuid
from shared.calls.zones import find_time_zone
from shared.dialects.registry import DIALECTS
from shared.settings.kafka import KafkaSettings
from shared.sources.dialect import Dialect, Setting
from shared.sources.source import OWN_DOMAINS, TIME_ZONE, Source

COMMON_SETTINGS: Final = (
    Setting(
        OWN_DOMAINS,
        "The SIP domains of the source's organizations, as a JSON list or an object with domains as keys. "
        "They decide the direction. Default: the mapped values.",
    ),
    Setting(TIME_ZONE, "The IANA zone of times without an offset, such as `Europe/Berlin`."),
    Setting("field", "The field of a log shipper's record that contains the system's record as text."),
    Setting("sns_topic", "The ARN of the Amazon SNS topic that may call the source."),
    Setting(
        "sns_confirm",
        "`true` lets the receiver confirm a subscription of `sns_topic`. Default: `false`.",
    ),
)
"""The settings of every source."""
BASIC_CREDENTIALS: Final = ("username", "password")
"""The secrets of a source without signatures, for HTTP basic credentials. One alone is useless."""
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_ADDRESS_LENGTH_MAX: Final = 2_000


def dialect_named(name: str) -> Dialect:
    """The dialect. Raises Failure for an unknown name."""
    if (dialect := DIALECTS.get(name.strip().lower())) is not None:
        return dialect
    near = difflib.get_close_matches(name.lower(), DIALECTS, 1)
    suggested = f" Did you mean {near[0]}?" if near else ""
    raise Failure(f"There is no dialect {name!r}.{suggested} `callfold source dialects` lists them.")


def read_pairs(given: Iterable[str] | None, option: str) -> dict[str, str]:
    """Options of the form NAME=VALUE. Raises Failure."""
    pairs: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise Failure(f"{option} must have the form NAME=VALUE, not {_without_value(each)}.")
        if name.strip() in pairs:
            raise Failure(f"{option} {name.strip()} is given twice.")
        pairs[name.strip()] = value
    return pairs


def read_mapping(given: Iterable[str] | None, option: str = "--map") -> dict[str, UUID]:
    """Options, or arguments, of the form VALUE=ID. The last equals sign divides them: values may contain
    others. Raises Failure."""
    mapping: dict[str, UUID] = {}
    for each in given or ():
        value, equals, organization = each.rpartition("=")
        if not equals or not value.strip():
            raise Failure(f"{option} must have the form VALUE=ID, not {each!r}.")
        if value.strip() in mapping:
            raise Failure(f"{option}: the value {value.strip()!r} is given twice.")
        mapping[value.strip()] = read_uuid(organization, f"The id in {option}")
    return mapping


def read_secrets(
    given: Iterable[str] | None, dialect: Dialect, *, may_remove: bool = False
) -> dict[str, str]:
    """Options of the form NAME=VALUE or NAME=@FILE. With `may_remove`, an empty value stands for the removal
    of the secret. Raises Failure."""
    known = [secret.name for secret in dialect.secrets] or list(BASIC_CREDENTIALS)
    secrets = {}
    for name, value in read_pairs(given, "--secret").items():
        if name not in known:
            raise Failure(f"The dialect {dialect.name} has no secret {name!r}: it has {', '.join(known)}.")
        value = _content(value[1:], name) if value.startswith("@") else value
        if not value.strip() and not may_remove:
            raise Failure(f"--secret {name} is empty.")
        secrets[name] = value if value.strip() else ""
    return secrets


def read_settings(given: Iterable[str] | None, dialect: Dialect) -> dict[str, Any]:
    """Options of the form NAME=VALUE. A value that is JSON is read as JSON, any other one as text. An empty
    value removes the setting. Raises Failure."""
    known = [setting.name for setting in (*dialect.settings, *COMMON_SETTINGS)]
    settings: dict[str, Any] = {}
    for name, value in read_pairs(given, "--setting").items():
        if name not in known:
            raise Failure(f"The dialect {dialect.name} has no setting {name!r}: it has {', '.join(known)}.")
        settings[name] = _json_or_text(value)
    zone = settings.get(TIME_ZONE)
    if zone and find_time_zone(str(zone)) is None:
        raise Failure(f"--setting {TIME_ZONE} must be an IANA time zone, not {zone!r}.")
    domains = settings.get(OWN_DOMAINS)
    if domains is not None and not isinstance(domains, list | dict | str):
        raise Failure(f"--setting {OWN_DOMAINS} must be a JSON list or object, not {domains!r}.")
    if isinstance(domains, str) and domains:
        settings[OWN_DOMAINS] = [each.strip() for each in domains.split(",")]
    return settings


def check_complete(dialect: Dialect, source: Source) -> None:
    """Raises Failure for a source that could not verify or read its deliveries."""
    if source.topic is not None and "kafka" not in dialect.ways:
        raise Failure(f"The dialect {dialect.name} reads HTTP requests, not Kafka records: omit --topic.")
    if source.topic is None and "http" not in dialect.ways:
        raise Failure(f"The dialect {dialect.name} reads Kafka records: name their topic with --topic.")
    _check_pair(source.secrets)
    if source.topic is None:
        _require("secret", [one.name for one in dialect.secrets if one.required], source.secrets, dialect)
        _check_verifiable(dialect, source)
    _require("setting", [one.name for one in dialect.settings if one.required], source.settings, dialect)
    if source.organization is None and not source.organizations and not dialect.names_organization:
        raise Failure("Name the organization of the calls: one with --organization, or several with --map.")


def _check_pair(secrets: Mapping[str, str]) -> None:
    missing = [name for name in BASIC_CREDENTIALS if not secrets.get(name)]
    if len(missing) == 1:
        raise Failure(
            f"The secret {missing[0]} is missing: {' and '.join(BASIC_CREDENTIALS)} work only together."
        )


def _check_verifiable(dialect: Dialect, source: Source) -> None:
    """Checks that a request could be verified: by one of several secrets, and for a known address."""
    if dialect.one_of_secrets and not any(source.secrets.get(name) for name in dialect.one_of_secrets):
        raise Failure(
            f"The dialect {dialect.name} needs one of the secrets {', '.join(dialect.one_of_secrets)}."
        )
    if dialect.signs_address(source) and not source.url:
        raise Failure(
            f"The dialect {dialect.name} needs --url, such as --url https://hooks.example.com: its "
            "signatures cover the address that the system calls."
        )


def is_open(source: Source) -> bool:
    """Whether every client that knows the address of the source can deliver to it."""
    return source.topic is None and not source.secrets


def hook_path(source_id: UUID) -> str:
    """The path of a source at the receiver."""
    return f"/hooks/{source_id}"


def read_url(given: str | None, source_id: UUID) -> str | None:
    """The public address of a source. An address without a path is the receiver's: the path of the source
    is appended. Raises Failure."""
    if not given:
        return None
    try:
        parts = urlsplit(given)
    except ValueError:
        parts = urlsplit("")
    is_plain = given.isprintable() and " " not in given and len(given) <= _ADDRESS_LENGTH_MAX
    if parts.scheme not in ("https", "http") or not parts.hostname or not is_plain:
        raise Failure(
            f"--url must be an address such as https://hooks.example.com, with or without a path, "
            f"not {given[:100]!r}."
        )
    if parts.path in ("", "/") and not parts.query and not parts.fragment:
        return parts._replace(path=hook_path(source_id)).geturl()
    return given


def read_topic(given: str | None) -> str | None:
    """The topic of a source, with a name that Kafka can have. Raises Failure."""
    if not given:
        return None
    settings = settings_from_environment(KafkaSettings)
    if given in (settings.topic, settings.deliveries_topic):
        raise Failure(f"--topic must be a topic of the system, not callfold's own topic {given}.")
    check_topic_name(given, "--topic")
    return given


def check_topic_name(name: str, option: str) -> None:
    """Raises Failure for a name that Kafka refuses."""
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise Failure(
            f"{option} must have 1 to 249 letters of ASCII, digits, dots, underscores and hyphens, and be "
            f"neither `.` nor `..`, not {name[:100]!r}."
        )


def _require(what: str, names: Sequence[str], given: Mapping[str, Any], dialect: Dialect) -> None:
    for name in names:
        if not given.get(name):
            raise Failure(f"The dialect {dialect.name} needs --{what} {name}=….")


def _content(path: str, name: str) -> str:
    try:
        content = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise Failure(f"--secret {name}: cannot read {path}: {reason}.") from None
    if not content:
        raise Failure(f"--secret {name}: the file {path} is empty.")
    return content


def _json_or_text(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


def _without_value(given: str) -> str:
    """The typed text, without a possible secret."""
    return repr(given.partition("=")[0][:20] + "…") if "=" in given else "a text without an equals sign"

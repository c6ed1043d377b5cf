"""The configuration of a source, as an operator types it: checked against its dialect."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from services.ops.terminal.failure import Failure
from services.ops.terminal.options import read_uuid
from shared.calls.zones import find_time_zone
from shared.dialects.registry import DIALECTS
from shared.sources.dialect import Dialect, Setting
from shared.sources.source import OWN_DOMAINS, TIME_ZONE

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
"""The secrets of a source without signatures, for HTTP basic credentials."""


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
        pairs[name.strip()] = value
    return pairs


def read_mapping(given: Iterable[str] | None) -> dict[str, UUID]:
    """Options of the form VALUE=ID. The last equals sign divides them: values may contain others."""
    mapping: dict[str, UUID] = {}
    for each in given or ():
        value, equals, organization = each.rpartition("=")
        if not equals or not value.strip():
            raise Failure(f"--map must have the form VALUE=ID, not {each!r}.")
        mapping[value.strip()] = read_uuid(organization, "The id in --map")
    return mapping


def read_secrets(given: Iterable[str] | None, dialect: Dialect) -> dict[str, str]:
    """Options of the form NAME=VALUE or NAME=@FILE. An empty value removes the secret. Raises Failure."""
    known = [secret.name for secret in dialect.secrets] or list(BASIC_CREDENTIALS)
    secrets = {}
    for name, value in read_pairs(given, "--secret").items():
        if name not in known:
            raise Failure(f"The dialect {dialect.name} has no secret {name!r}: it has {', '.join(known)}.")
        secrets[name] = _content(value[1:], name) if value.startswith("@") else value
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


def check_complete(
    dialect: Dialect,
    *,
    topic: str | None,
    secrets: Mapping[str, str],
    settings: Mapping[str, Any],
    organization: UUID | None,
    organizations: Mapping[str, UUID],
) -> None:
    """Raises Failure for a source that could not read its deliveries."""
    if topic is not None and "kafka" not in dialect.ways:
        raise Failure(f"The dialect {dialect.name} reads HTTP requests, not Kafka records: omit --topic.")
    if topic is None and "http" not in dialect.ways:
        raise Failure(f"The dialect {dialect.name} reads Kafka records: name their topic with --topic.")
    if topic is None:
        _require("secret", [one.name for one in dialect.secrets if one.required], secrets, dialect)
    _require("setting", [one.name for one in dialect.settings if one.required], settings, dialect)
    if organization is None and not organizations and not dialect.names_organization:
        raise Failure("Name the organization of the calls: one with --organization, or several with --map.")


def _require(what: str, names: Sequence[str], given: Mapping[str, Any], dialect: Dialect) -> None:
    for name in names:
        if not given.get(name):
            raise Failure(f"The dialect {dialect.name} needs --{what} {name}=….")


def _content(path: str, name: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise Failure(f"--secret {name}: cannot read {path}: {reason}.") from None


def _json_or_text(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


def _without_value(given: str) -> str:
    """The typed text, without a possible secret."""
    return repr(given.partition("=")[0][:20] + "…") if "=" in given else "a text without an equals sign"

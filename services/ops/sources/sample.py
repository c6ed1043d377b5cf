"""Samples and scenarios: files that hold a source and the deliveries of a call, as JSON.

A sample has `dialect`, `source`, `request` or `record`, and `received_at`. A scenario has `deliveries` in
their place, and may have several `sources` by name.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import msgspec

from shared.sources.delivery import Delivery
from shared.sources.instants import iso, needed_instant
from shared.sources.source import Source

_NAMESPACE = UUID("5b0c3f0e-7a0e-5d57-9a55-3f2a5a6c1e10")


class SampleError(ValueError):
    """A file that is not a sample. The text is one sentence."""


class Sample(NamedTuple):
    """A source and one of its deliveries."""

    source: Source
    delivery: Delivery


def sample_of(content: Mapping[str, Any]) -> Sample:
    """The sample in a file's JSON. Raises SampleError."""
    try:
        return Sample(_source(content["source"], content["dialect"]), _delivery(content))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SampleError(f"The file is not a sample: {error!r}.") from None


def scenario_of(content: Mapping[str, Any]) -> list[Sample]:
    """The samples in a scenario's JSON, in order. Raises SampleError."""
    try:
        sources = {
            name: _source(each, each.get("dialect", content["dialect"]), name)
            for name, each in content.get("sources", {}).items()
        }
        if "source" in content:
            sources[""] = _source(content["source"], content["dialect"])
        return [Sample(sources[each.get("source", "")], _delivery(each)) for each in content["deliveries"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SampleError(f"The file is not a scenario: {error!r}.") from None


def _source(given: Mapping[str, Any], dialect: str, name: str = "") -> Source:
    organization = given.get("organization")
    return Source(
        id=uuid5(_NAMESPACE, f"{dialect}/{name}"),
        name=name or dialect,
        dialect=dialect,
        organization=UUID(organization) if organization else None,
        organizations={value: UUID(id_) for value, id_ in (given.get("organizations") or {}).items()},
        organizations_by=given.get("organizations_by"),
        secrets={secret: _secret(value) for secret, value in (given.get("secrets") or {}).items()},
        settings=given.get("settings") or {},
        url=given.get("url"),
    )


def _secret(value: Any) -> str:
    """A secret as a source stores it: a text. An object becomes its JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _delivery(given: Mapping[str, Any]) -> Delivery:
    received_at = needed_instant(iso(given["received_at"], "received_at"), "received_at")
    if "request" in given:
        request = given["request"]
        return Delivery(
            _bytes(request, "body") or b"",
            received_at,
            _lower(request["headers"]),
            request["method"],
            request["url"],
        )
    record = given["record"]
    key = record.get("key")
    return Delivery(
        _bytes(record, "value"),
        received_at,
        _lower(record.get("headers") or {}),
        key=key.encode() if key is not None else None,
    )


def _bytes(given: Mapping[str, Any], name: str) -> bytes | None:
    if f"{name}_base64" in given:
        return b64decode(given[f"{name}_base64"])
    value: str | None = given[name]
    return None if value is None else value.encode()


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}

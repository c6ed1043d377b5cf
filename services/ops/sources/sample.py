"""Samples and scenarios: files that hold a source and the deliveries of a call, as JSON.

A sample has `dialect`, `source`, `request` or `record`, and `received_at`. A scenario has `deliveries` in
their place, and may have several `sources` by name.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import msgspec

from shared.sources.delivery import Delivery
from shared.sources.instants import iso, needed_instant
from shared.sources.outcome import Quarantined
from shared.sources.source import Source

_NAMESPACE = UUID("5b0c3f0e-7a0e-5d57-9a55-3f2a5a6c1e10")
_NO_SOURCE: Final = "the field `source` is missing"
_FAULTS: Final = (KeyError, TypeError, ValueError, AttributeError, Quarantined)


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
    except _FAULTS as error:
        raise SampleError(f"The file is not a sample: {_fault(error)}.") from None


def scenario_of(content: Mapping[str, Any]) -> list[Sample]:
    """The samples in a scenario's JSON, in order. Raises SampleError."""
    try:
        sources = {
            name: _source(each, each.get("dialect", content["dialect"]), name)
            for name, each in content.get("sources", {}).items()
        }
        if "source" in content:
            sources[""] = _source(content["source"], content["dialect"])
        return [Sample(_of_delivery(each, sources), _delivery(each)) for each in content["deliveries"]]
    except _FAULTS as error:
        raise SampleError(f"The file is not a scenario: {_fault(error)}.") from None


def _fault(error: Exception) -> str:
    """The fault of the file: a clause."""
    if isinstance(error, KeyError):
        return f"the field `{error.args[0]}` is missing"
    if isinstance(error, TypeError | AttributeError):
        return "a field has a value of another kind than documented"
    return str(error).removesuffix(".")


def _of_delivery(given: Mapping[str, Any], sources: Mapping[str, Source]) -> Source:
    name = given.get("source", "")
    if name not in sources:
        raise ValueError(f"a delivery names the source {name!r}, which is missing" if name else _NO_SOURCE)
    return sources[name]


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
    if "record" not in given:
        raise ValueError("one of the fields `request` and `record` is missing")
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

"""Sources in the database, and their deliveries on Kafka, without the receiver."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from services.ops.sources.sample import Sample, sample_of, scenario_of
from shared.database.connection import Connection
from shared.dialects.registry import DIALECTS
from shared.sources.delivery_record import record_of
from tests.support.processes import Record
from tests.support.repository import ROOT

SAMPLES: Final = ROOT / "tests" / "sources" / "samples"
SCENARIOS: Final = ROOT / "tests" / "sources" / "scenarios"
_encode: Final = msgspec.json.encode


def sample(name: str) -> Sample:
    """A sample by its system and name, such as `twilio/outbound_busy`."""
    return sample_of(_content(SAMPLES / f"{name}.json"))


def scenario(name: str) -> list[Sample]:
    """The samples of a scenario, such as `kamailio_ring_all`."""
    return scenario_of(_content(SCENARIOS / f"{name}.json"))


async def add_source(database: Connection, like: Sample, *, topic: str | None = None) -> UUID:
    """Creates the source of a sample, with an id of its own and without secrets."""
    source = like.source
    source_id = uuid4()
    organizations = {value: str(id_) for value, id_ in source.organizations.items()}
    await database.execute(
        "INSERT INTO sources (id, name, dialect, serves, organizations, organizations_by, settings, topic) "
        "VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7::jsonb, $8)",
        source_id,
        f"{source.name}-{source_id}",
        source.dialect,
        source.organization,
        _encode(organizations).decode(),
        source.organizations_by,
        _encode(source.settings).decode(),
        topic,
    )
    return source_id


def deliveries(source_id: UUID, samples: Sequence[Sample]) -> list[Record]:
    """The Kafka records of these samples' requests, as the receiver writes them."""
    records: list[Record] = []
    for source, delivery in samples:
        headers, value = record_of(delivery, source_id, DIALECTS[source.dialect].kept_headers)
        records.append((None, value, tuple(headers)))
    return records


def records(samples: Sequence[Sample]) -> list[Record]:
    """The Kafka records of these samples, for a topic of the source."""
    return [(one.delivery.key, one.delivery.body, ()) for one in samples]


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(), parse_float=str)
    return content


def instant(text: str) -> datetime:
    """The time in a sample's text."""
    return datetime.fromisoformat(text)

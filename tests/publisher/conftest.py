"""A topic of calls for each test, and publishers that write to it."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.database import roles
from shared.kafka.topic import ensure_topic
from tests.support.processes import Service, starting
from tests.support.roles import as_role

StartPublisher = Callable[..., Service]


@pytest.fixture
async def calls_topic(bootstrap: str) -> str:
    """A fresh topic of calls."""
    name = f"calls-{uuid.uuid4().hex[:12]}"
    await ensure_topic(bootstrap, name, 2, compacted=True)
    return name


@pytest.fixture
def start_publisher(
    bootstrap: str, calls_topic: str, database_url: str, tmp_path: Path
) -> Iterator[StartPublisher]:
    """Starts publishers in their role, and kills those that still run at the end."""
    with starting(
        "publisher",
        tmp_path,
        database_url=as_role(database_url, roles.PUBLISHER),
        kafka_bootstrap=bootstrap,
        calls_topic=calls_topic,
        publisher_lease_seconds="2",
    ) as start:
        yield start

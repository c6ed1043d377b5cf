"""A topic of calls for each test, and publishers that write to it."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.kafka.topic import ensure_topic
from tests.support.processes import Service

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
    """Starts publishers, and kills those that still run at the end."""
    started: list[Service] = []

    def start(**settings: str) -> Service:
        service = Service(
            "publisher",
            tmp_path / f"publisher-{len(started)}.log",
            **{
                "database_url": database_url,
                "kafka_bootstrap": bootstrap,
                "calls_topic": calls_topic,
                "publisher_lease_seconds": "2",
                **settings,
            },
        )
        started.append(service)
        return service

    yield start
    for service in started:
        if service.running:
            service.kill()

"""A topic of deliveries for each test."""

import uuid

import pytest

from shared.kafka.topic import DELIVERY_BYTES_MAX, ensure_topic


@pytest.fixture
async def deliveries(bootstrap: str) -> str:
    """A fresh topic of deliveries."""
    name = f"call-deliveries-{uuid.uuid4().hex[:12]}"
    await ensure_topic(bootstrap, name, 2, record_bytes_max=DELIVERY_BYTES_MAX)
    return name

"""The admin API in this process, on the database and the broker of a test."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.ops.addresses import Place
from services.ops.admin.app import create_admin_app
from shared.database.roles import OPERATOR
from shared.monitoring.monitor import Probes
from shared.settings.ingest import IngestSettings
from tests.support.ingesting import GROUP
from tests.support.roles import as_role

TOKEN: Final = "a-token-of-the-tests-with-32-characters"
NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def no_reason() -> str | None:
    """The API is ready."""
    return None


@pytest.fixture
def app(database_url: str, bootstrap: str, topic: str) -> FastAPI:
    """The application, connected as the operator's role. Its clock stands still."""
    settings = IngestSettings(
        kafka_bootstrap=bootstrap,
        topic=topic,
        deliveries_topic=topic.replace("events", "deliveries"),
        consumer_group=f"{GROUP}-{topic}",
    )
    place = Place(as_role(database_url, OPERATOR))
    probes = Probes(CollectorRegistry(), no_reason)
    return create_admin_app(SecretStr(TOKEN), place, settings, probes, clock=lambda: NOW)


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without the token."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://monitor", timeout=60) as client,
    ):
        yield client


@pytest.fixture
def admin(anonymous: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with the token."""
    anonymous.headers["Authorization"] = f"Bearer {TOKEN}"
    return anonymous

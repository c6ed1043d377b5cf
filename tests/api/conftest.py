"""The API with the settings that most tests here need. Other tests start it with their own settings."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.api import serving

NOWHERE = "postgresql://postgres@127.0.0.1:1/none"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API that reads this test's database."""
    async with serving(database_url) as client:
        yield client


@pytest.fixture(scope="session")
async def document() -> Any:
    """The OpenAPI document, as the API serves it. It needs no database."""
    async with serving(NOWHERE) as client:
        return (await client.get("/openapi.json")).json()

"""The console's sources: their types are those of the OpenAPI document, and their style is clean."""

import httpx
import pytest

from services.api.console import build
from tests.api.conftest import NOWHERE
from tests.support.api import serving
from tests.support.built_console import alone

pytestmark = [pytest.mark.processes, pytest.mark.long]


async def document() -> str:
    """The OpenAPI document, as the API serves it."""
    async with serving(NOWHERE) as client:
        answer: httpx.Response = await client.get("/openapi.json")
        return answer.text


async def test_a_field_that_the_api_no_longer_has_is_found() -> None:
    openapi = await document()
    assert '"answer_rate"' in openapi
    with alone(), pytest.raises(build.BuildFailed, match="answer_rate"):
        build.check(openapi.replace('"answer_rate"', '"answer_ratio"'))


async def test_types_agree_with_the_openapi_document_and_the_style_is_clean() -> None:
    openapi = await document()
    with alone():
        build.check(openapi)

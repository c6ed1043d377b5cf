"""Writes the pictures of the console: `./check -k test_screenshots --screenshots`."""

import pytest
from playwright.async_api import expect

from tests.console.conftest import Visiting
from tests.console.test_operators import shared_operators, shared_visit, sign_in
from tests.support.browser import Scheme, Visit
from tests.support.console import Console
from tests.support.console_pages import PAGES, opened
from tests.support.repository import ROOT

__all__ = ["shared_operators", "shared_visit"]

pytestmark = pytest.mark.screenshots

IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1180, 860
BYTES_MAX = 200_000


@pytest.mark.parametrize(
    ("page", "scheme"), [("overview", "light"), ("overview", "dark"), ("calls", "light"), ("call", "light")]
)
async def test_a_picture(visit_shared: Visiting, console: Console, page: str, scheme: Scheme) -> None:
    (shown,) = (each for each in PAGES if each.name == page)
    async with visit_shared(scheme=scheme, width=WIDTH) as visit:
        await visit.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        await opened(visit, console, shown)
        await write(visit, f"{page}-{scheme}")


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [("health", "", ".chart canvas"), ("quarantine", "quarantine", "table >> nth=1")],
)
async def test_a_picture_for_operators(shared_visit: Visit, name: str, path: str, shown: str) -> None:
    await shared_visit.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    await sign_in(shared_visit, path)
    await expect(shared_visit.page.locator(shown)).to_be_visible()
    await write(shared_visit, name)


async def write(visit: Visit, name: str) -> None:
    """Writes what the window shows."""
    picture = await visit.page.screenshot(animations="disabled")
    assert 10_000 < len(picture) <= BYTES_MAX
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / f"console-{name}.png").write_bytes(picture)

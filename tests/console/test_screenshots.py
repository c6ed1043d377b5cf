"""Writes the pictures of the console: `./check -k test_screenshots --screenshots`."""

import pytest

from tests.console.conftest import Visiting
from tests.support.browser import Scheme
from tests.support.console import Console
from tests.support.console_pages import PAGES, Shown, opened
from tests.support.repository import ROOT

pytestmark = pytest.mark.screenshots

IMAGES = ROOT / "docs" / "images"
PICTURED = [shown for shown in PAGES if shown.name in ("overview", "calls", "call")]
BYTES_MAX = 100_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shown", PICTURED, ids=lambda shown: shown.name)
async def test_a_picture(visit_shared: Visiting, console: Console, shown: Shown, scheme: Scheme) -> None:
    async with visit_shared(scheme=scheme, width=900) as visit:
        await visit.page.set_viewport_size({"width": 900, "height": 640})
        await opened(visit, console, shown)
        picture = await visit.page.screenshot(animations="disabled")
        assert 10_000 < len(picture) <= BYTES_MAX
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / f"console-{shown.name}-{scheme}.png").write_bytes(picture)

"""Each page in both colour schemes, on a desktop and on a telephone: what it shows, and whom it excludes.

`./check -k test_pages --snapshot-update` rewrites the stored descriptions; review their diff.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, expect
from syrupy.assertion import SnapshotAssertion

from tests.console.conftest import Visiting
from tests.support.browser import Scheme, signed_in
from tests.support.built_console import axe
from tests.support.console import Console
from tests.support.console_pages import PAGES, TALK, Shown, open_details, opened

pytestmark = pytest.mark.long

SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS = (1280, 360)
_RUN = """async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const { violations, passes } = await axe.run(document, { runOnly: tags });
    return { passes: passes.length, violations: violations.map(({ id, help, nodes }) =>
        ({ id, help, nodes: nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`) })) };
}"""


@pytest.fixture(scope="session")
def axe_script() -> str:
    """The script that examines accessibility."""
    return axe()


async def assert_accessible(page: Page, axe_script: str) -> None:
    """Fails if axe-core finds a violation of WCAG 2 A and AA, or of its best practices."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe_script)
    found: Any = await page.evaluate(_RUN)
    assert found["passes"] > 5
    assert not found["violations"], json.dumps(found["violations"], indent=1)


async def assert_no_sideways_scroll(page: Page) -> None:
    """Fails if the page is wider than the window."""
    wide, window = await page.evaluate(
        "[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
    )
    assert wide <= window, await page.evaluate(
        """[...document.querySelectorAll("main *, header *")]
            .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest(".scroll"))
            .slice(0, 5).map((each) => each.outerHTML.slice(0, 200))"""
    )


async def looked_at(page: Page) -> AsyncIterator[tuple[Scheme, int]]:
    """Shows the page in each colour scheme at each width."""
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            yield scheme, width


@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
async def test_a_page(
    visit_shared: Visiting, console: Console, axe_script: str, snapshot: SnapshotAssertion, shown: Shown
) -> None:
    async with visit_shared() as visit:
        page = visit.page
        await opened(visit, console, shown)
        described: dict[int, set[str]] = {}
        async for _, width in looked_at(page):
            described.setdefault(width, set()).add(await page.locator("body").aria_snapshot())
            await assert_no_sideways_scroll(page)
        await open_details(page, shown)
        async for _ in looked_at(page):
            await assert_no_sideways_scroll(page)
            await assert_accessible(page, axe_script)
    for width, descriptions in described.items():
        assert len(descriptions) == 1, "the colour scheme changes what the page says"
        assert descriptions.pop() == snapshot(name=f"{width} px")


async def test_the_dialog_of_a_deletion(visit_shared: Visiting, console: Console, axe_script: str) -> None:
    async with visit_shared() as visit:
        await opened(visit, console, Shown("call", TALK))
        await visit.page.get_by_role("button", name="Delete this call").click()
        await expect(visit.page.get_by_role("dialog", name="Delete this call?")).to_be_visible()
        async for _ in looked_at(visit.page):
            await assert_accessible(visit.page, axe_script)
            await assert_no_sideways_scroll(visit.page)


async def test_a_first_visit_transfers_at_most_150_kb(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        finished: list[Any] = []
        visit.context.on("requestfinished", lambda request: finished.append(request))
        await opened(visit, console, Shown("overview", "/console/"))
        sizes = [await request.sizes() for request in finished]
        assert len(sizes) >= 5
        assert 10_000 < sum(size["responseBodySize"] for size in sizes) <= 150_000


async def test_a_chart_opens_the_calls_of_its_bar(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await opened(visit, console, Shown("overview", "/console/?days=7"))
        await visit.page.locator("summary").first.click()
        first = await visit.page.locator(".scroll tbody tr").first.locator("a").first.inner_text()
        over = visit.page.locator(".u-over")
        box = await over.bounding_box()
        assert box is not None
        await over.click(position={"x": box["width"] / 14, "y": box["height"] / 2})
        await expect(visit.page).to_have_url(
            f"{console.origin}/console/calls?start_date=2026-11-18&end_date=2026-11-18"
        )
        await expect(visit.page.locator(".total")).to_have_text(f"{first} calls")


async def test_the_navigation_marks_the_current_page(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        pages = visit.page.get_by_role("navigation", name="Pages", exact=True)
        current = pages.locator('[aria-current="page"]')
        for address, name in (("/console/", "Overview"), ("/console/calls", "Calls"), (TALK, "Calls")):
            await opened(visit, console, Shown(name, address))
            await expect(current).to_have_text(name)


async def test_an_address_that_cannot_be_decoded_is_told(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await signed_in(visit, console.acme.key)
        await visit.open("/console/calls/%zz")
        await expect(visit.page.get_by_role("alert")).to_contain_text("The page cannot show this address.")


async def test_a_span_that_ends_before_it_begins_is_refused(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        visit.expected.add(400)
        await signed_in(visit, console.acme.key, "/console/?start_date=2026-11-20&end_date=2026-11-01")
        await expect(visit.page.get_by_role("alert")).to_contain_text(
            "start_date must not be after end_date."
        )

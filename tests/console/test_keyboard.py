"""The console by keyboard alone: Tab, Enter and Escape reach everything, and the focus is always seen."""

from playwright.async_api import Page, expect

from tests.console.conftest import Visiting
from tests.support.console import Console
from tests.support.console_pages import loaded

TABS_MAX = 200
_FOCUSED = """() => {
    const each = document.activeElement;
    if (each === null || each === document.body) return null;
    const style = getComputedStyle(each);
    const box = each.getBoundingClientRect();
    return {
        text: (each.getAttribute("aria-label") || each.textContent || each.getAttribute("name") || "").trim(),
        href: each.getAttribute("href") ?? "",
        // The browser itself marks the parts of a date.
        isSeen: each.matches("input[type=date]") ||
            (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.width > 0),
    };
}"""


async def tab_to(page: Page, text: str, href: str = "") -> None:
    """Presses Tab until the focus is on this text. Fails if the focus is ever lost or not seen."""
    for _ in range(TABS_MAX):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(_FOCUSED)
        if focused is None:  # the browser's own controls follow the last element
            continue
        assert focused["isSeen"], focused
        if focused["text"].startswith(text) and href in focused["href"]:
            return
    raise AssertionError(f"{TABS_MAX} times Tab did not reach {text}")


async def assert_focused(page: Page, tag: str) -> None:
    """Fails unless an element of this kind gets the focus."""
    await expect(page.locator(f"{tag}:focus")).to_have_count(1)


async def test_from_the_sign_in_to_a_deletion_that_is_cancelled(
    visit_shared: Visiting, console: Console
) -> None:
    async with visit_shared() as visit:
        page = visit.page
        await visit.open()
        await assert_focused(page, "h1")
        await page.keyboard.press("Tab")
        await page.keyboard.type(console.acme.key)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        await loaded(page)
        await assert_focused(page, "h1")

        await tab_to(page, "", "counted_cause=USER_BUSY")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Calls", exact=True)).to_be_visible()
        await loaded(page)
        await assert_focused(page, "h1")

        await tab_to(page, "", "/console/calls/")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="→")).to_be_visible()
        await loaded(page)
        await assert_focused(page, "h1")

        await tab_to(page, "Delete this call")
        await page.keyboard.press("Enter")
        await assert_focused(page, "dialog input")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await assert_focused(page, "button")
        await page.keyboard.press("Enter")
        await assert_focused(page, "dialog input")
        await tab_to(page, "Cancel")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await assert_focused(page, "button")


async def test_the_first_link_skips_the_navigation(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        page = visit.page
        await page.goto(f"{console.origin}/console/calls#key={console.acme.key}")
        await loaded(page)
        skip = page.get_by_role("link", name="Skip to the content")
        for _ in range(TABS_MAX):
            await page.keyboard.press("Shift+Tab")
            if await page.evaluate(_FOCUSED) is None:
                await page.keyboard.press("Tab")
                break
        await expect(skip).to_be_focused()
        await expect(skip).to_be_in_viewport()
        await page.keyboard.press("Enter")
        await assert_focused(page, "main")
        await expect(page.get_by_role("heading", name="Calls", exact=True)).to_be_visible()

"""The pages of the console, each with what it shows once it has loaded."""

from typing import NamedTuple

from playwright.async_api import Page, expect

from tests.support.browser import Visit, signed_in
from tests.support.console import Console, id_of


class Shown(NamedTuple):
    """A page by its name. `details` are the summaries of what can be opened."""

    name: str
    address: str
    details: tuple[str, ...] = ()


TALK = f"/console/calls/{id_of('talk')}"
PAGES = (
    Shown("sign-in", ""),
    Shown("overview", "/console/", ("The same numbers as a table",)),
    Shown("calls", "/console/calls?status=busy,no_answer", ("All filters",)),
    Shown("call", TALK, ("call.completed",)),
    Shown("call-without-an-end", f"/console/calls/{id_of('without-an-end')}"),
    Shown("no-such-page", "/console/no-such-page"),
)


async def opened(visit: Visit, console: Console, shown: Shown) -> None:
    """Opens a page and returns once it has loaded."""
    if shown.address:
        await signed_in(visit, console.acme.key, shown.address)
    else:
        await visit.open()
    await loaded(visit.page)


async def loaded(page: Page) -> None:
    """Returns once the page waits for nothing."""
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(page.get_by_text("Loading")).to_have_count(0)
    await expect(page.locator('[aria-busy="true"]')).to_have_count(0)
    await expect(page.get_by_text("Connecting …")).to_have_count(0)


async def open_details(page: Page, shown: Shown) -> None:
    """Opens everything that the page folds."""
    for summary in shown.details:
        await page.locator("summary", has_text=summary).click()

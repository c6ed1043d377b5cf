"""Signing in and out, and what the browser keeps of the key."""

from playwright.async_api import expect

from tests.console.conftest import Visiting
from tests.support.console import Console


async def test_a_key_of_the_fragment_opens_the_console(visit_shared: Visiting, shared: Console) -> None:
    async with visit_shared() as visit:
        await visit.open(f"/console/#key={shared.acme.key}")
        await expect(visit.page.get_by_role("heading", name="Overview")).to_be_visible()
        await expect(visit.page).to_have_url(f"{shared.origin}/console/")

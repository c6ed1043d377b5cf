"""Signing in and out, and what the browser keeps of the key."""

from urllib.parse import urlsplit, urlunsplit

import asyncpg
from playwright.async_api import Page, expect

from shared.database.connection import Connection
from tests.console.conftest import Visiting
from tests.support.browser import Visit, signed_in
from tests.support.console import Console


async def kept(page: Page) -> tuple[list[str], int, str]:
    """The values of session storage, the number of entries of local storage, and the cookies."""
    return tuple(await page.evaluate("[Object.values(sessionStorage), localStorage.length, document.cookie]"))


async def assert_only_this_tab_has(visit: Visit, key: str) -> None:
    """Fails if the key is anywhere but in session storage."""
    in_session, in_local, cookies = await kept(visit.page)
    assert [key in value for value in in_session] == [True]
    assert (in_local, cookies, await visit.context.cookies()) == (0, "", [])
    assert key not in visit.page.url
    assert visit.urls
    assert not [url for url in visit.urls if key in url]


async def test_the_form_opens_the_console(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await visit.open()
        await visit.page.get_by_label("API key or token").fill(console.acme.key)
        await visit.page.get_by_role("button", name="Open the console").click()
        await expect(visit.page.get_by_role("heading", name="Overview")).to_be_visible()
        await expect(visit.page.get_by_text("Europe/Berlin", exact=True)).to_be_visible()
        await assert_only_this_tab_has(visit, console.acme.key)


async def test_a_key_of_the_fragment_leaves_the_address(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await visit.page.goto(f"{console.origin}/console/calls?status=busy#key={console.acme.key}")
        await expect(visit.page.get_by_role("heading", name="Calls", exact=True)).to_be_visible()
        await expect(visit.page).to_have_url(f"{console.origin}/console/calls?status=busy")
        visit.urls = [url.partition("#")[0] for url in visit.urls]  # fragments are not sent
        await assert_only_this_tab_has(visit, console.acme.key)
        await visit.page.reload()
        await expect(visit.page.get_by_role("heading", name="Calls", exact=True)).to_be_visible()


async def test_signing_out_forgets_the_key(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await signed_in(visit, console.acme.key)
        await visit.page.get_by_role("button", name="Sign out").click()
        await expect(visit.page.get_by_label("API key or token")).to_be_visible()
        assert await kept(visit.page) == ([], 0, "")
        await visit.page.reload()
        await expect(visit.page.get_by_label("API key or token")).to_be_visible()


async def test_a_wrong_key_shows_the_sentence_of_the_api(visit_shared: Visiting) -> None:
    async with visit_shared() as visit:
        visit.expected = {401}
        await visit.open()
        await visit.page.get_by_label("API key or token").fill("kros_live_wrong")
        await visit.page.keyboard.press("Enter")
        problem = visit.page.get_by_role("alert")
        await expect(problem).to_contain_text("UNAUTHORIZED")
        await expect(problem).to_contain_text("key")
        assert (await kept(visit.page))[0] == []


async def test_a_test_key_says_that_it_shows_test_calls(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await signed_in(visit, console.acme.test_key)
        await expect(visit.page.get_by_text("Test calls", exact=True)).to_be_visible()
        await expect(visit.page.get_by_text("There are no calls in this span.")).to_be_visible()
        await signed_in(visit, console.acme.test_key, "/console/calls")
        await expect(visit.page.get_by_text("No call has these properties.")).to_be_visible()


async def test_a_revoked_key_brings_the_sign_in_page(
    visit: Visit, own: Console, database: Connection
) -> None:
    visit.expected = {401}
    await signed_in(visit, own.acme.key)
    await expect(visit.page.get_by_role("heading", name="Status")).to_be_visible()
    await database.execute("UPDATE api_keys SET revoked_at = now()")
    await expect(visit.page.get_by_label("API key or token")).to_be_visible(timeout=15_000)
    await expect(visit.page.get_by_role("alert")).to_contain_text("UNAUTHORIZED")
    assert (await kept(visit.page))[0] == []


async def test_it_recovers_by_itself_when_the_database_is_back(
    visit: Visit, own: Console, database: Connection
) -> None:
    visit.expected = {503}
    await signed_in(visit, own.acme.key)
    await expect(visit.page.get_by_role("heading", name="Status")).to_be_visible()
    address = urlsplit(own.database_url)
    server = await asyncpg.connect(urlunsplit(address._replace(path="/postgres")))
    name = address.path.removeprefix("/")
    try:
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await visit.page.get_by_role("link", name="7 days").click()
        problem = visit.page.get_by_role("alert").first
        await expect(problem).to_contain_text("The database is unavailable; retry in a moment.")
        await expect(problem).to_contain_text("The page tries again in")
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    finally:
        await server.close()
    await expect(visit.page.get_by_role("alert")).to_have_count(0)
    await expect(visit.page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    await expect(visit.page.get_by_role("heading", name="Status")).to_be_visible()


async def test_it_says_what_it_waits_for(visit: Visit, own: Console, database: Connection) -> None:
    await signed_in(visit, own.acme.key, "/console/no-such-page")
    async with database.transaction():
        await database.execute("LOCK TABLE calls, daily_call_totals, daily_call_counts, daily_call_deltas")
        await visit.page.get_by_role("link", name="Calls", exact=True).click()
        await expect(visit.page.get_by_text("Loading calls …")).to_be_visible()
        await visit.page.get_by_role("link", name="Overview", exact=True).click()
        await expect(visit.page.get_by_text("Loading the figures …")).to_be_visible()
    await expect(visit.page.get_by_role("heading", name="Status")).to_be_visible()

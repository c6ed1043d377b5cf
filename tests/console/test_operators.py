"""The pages of operators in a real browser, on the admin API with a real database and real topics."""

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import Scheme, Visit, visiting
from tests.support.built_console import axe
from tests.support.console import ACME
from tests.support.databases import Databases
from tests.support.operators import (
    CALLS,
    GONE,
    STRANGER,
    TOKEN,
    OperatorsConsole,
    of_a_stranger,
    operators_of,
    quarantine,
    serving_operators,
)
from tests.support.processes import publish

SIGNED_IN: Final = f"#token={TOKEN}"
SHAPES: Final[tuple[tuple[Scheme, int], ...]] = (
    ("light", 1280),
    ("light", 360),
    ("dark", 1280),
    ("dark", 360),
)
PAGES: Final = {
    "": "Health",
    "quarantine": "Quarantine",
    "sources": "Sources",
    "webhooks": "Webhooks",
    "proofs": "Proofs",
}
PROOF_MILLISECONDS: Final = 60_000


@pytest.fixture(scope="session")
async def shared_operators(
    databases: Databases, bootstrap: str, built: None
) -> AsyncIterator[OperatorsConsole]:
    """A console of operators, which no test changes."""
    async with (
        databases.migrated() as database_url,
        operators_of(database_url, bootstrap) as console,
    ):
        yield console


@pytest.fixture
async def operators(database_url: str, bootstrap: str, built: None) -> AsyncIterator[OperatorsConsole]:
    """A console of operators, which this test may change."""
    async with operators_of(database_url, bootstrap) as console:
        yield console


@pytest.fixture
async def shared_visit(browser: Browser, shared_operators: OperatorsConsole) -> AsyncIterator[Visit]:
    """A visit to the shared console, without a token."""
    async with visiting(browser, shared_operators.origin) as visit:
        yield visit


@pytest.fixture
async def own_visit(browser: Browser, operators: OperatorsConsole) -> AsyncIterator[Visit]:
    """A visit to this test's own console, without a token."""
    async with visiting(browser, operators.origin) as visit:
        yield visit


async def sign_in(visit: Visit, path: str = "") -> None:
    """Opens a page with the token, which the API has then accepted."""
    await visit.open(f"/console/{path}{SIGNED_IN}")
    await expect(visit.page.get_by_role("button", name="Sign out")).to_be_visible()


async def violations(page: Page) -> list[str]:
    """The rules of accessibility that the page breaks, with the elements."""
    await page.evaluate(axe())
    found: list[Any] = (await page.evaluate("axe.run()"))["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


async def is_wider_than_its_window(page: Page) -> bool:
    """Whether the page scrolls sideways."""
    wide: bool = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return wide


@pytest.mark.parametrize(("scheme", "width"), SHAPES)
async def test_each_page_is_accessible_and_fits_its_window(
    browser: Browser, shared_operators: OperatorsConsole, scheme: Scheme, width: int
) -> None:
    async with visiting(browser, shared_operators.origin, scheme=scheme, width=width) as visit:
        await sign_in(visit)
        for path, heading in PAGES.items():
            await visit.open(f"/console/{path}")
            await expect(visit.page.get_by_role("heading", level=1)).to_have_text(heading)
            await expect(visit.page.get_by_text("Loading")).to_have_count(0)
            assert await violations(visit.page) == [], heading
            assert not await is_wider_than_its_window(visit.page), heading
        await visit.open("/console/quarantine")
        await visit.page.locator("th[data-name=Quarantined] a").first.click()
        await expect(visit.page.get_by_role("heading", name="Value")).to_be_visible()
        assert await violations(visit.page) == []
        assert not await is_wider_than_its_window(visit.page)


async def test_the_token_of_the_fragment_stays_in_the_tab(
    shared_visit: Visit, shared_operators: OperatorsConsole
) -> None:
    page = shared_visit.page
    await sign_in(shared_visit, "sources")
    await expect(page.get_by_role("heading", name="Sources")).to_be_visible()
    await expect(page).to_have_url(f"{shared_operators.origin}/console/sources")
    assert await page.evaluate("Object.values(sessionStorage)") == [f'"{TOKEN}"']
    assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert not [url for url in shared_visit.urls if TOKEN in url]
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Admin token")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_wrong_token_is_refused_in_the_words_of_the_api(shared_visit: Visit) -> None:
    shared_visit.expected.add(401)
    page = shared_visit.page
    await shared_visit.open()
    await page.get_by_label("Admin token").fill("a-wrong-token")
    await page.get_by_role("button", name="Open the console").click()
    await expect(page.get_by_role("alert")).to_contain_text("Send the admin token as Authorization: Bearer.")
    assert await violations(page) == []
    await page.get_by_label("Admin token").fill(TOKEN)
    await page.get_by_role("button", name="Open the console").click()
    await expect(page.get_by_role("heading", name="Health")).to_be_visible()


async def test_a_refused_token_leads_to_the_sign_in(shared_visit: Visit) -> None:
    shared_visit.expected.add(401)
    await sign_in(shared_visit, "proofs")
    await expect(shared_visit.page.get_by_role("heading", name="Proofs", exact=True)).to_be_visible()
    await shared_visit.page.evaluate("sessionStorage.setItem('callfold.operator', '\"another\"')")
    await shared_visit.open("/console/proofs")
    await expect(shared_visit.page.get_by_role("alert")).to_contain_text("Send the admin token")
    await expect(shared_visit.page.get_by_label("Admin token")).to_be_visible()


async def test_health_follows_the_lag(own_visit: Visit, operators: OperatorsConsole, bootstrap: str) -> None:
    page = own_visit.page
    await sign_in(own_visit)
    lag = page.locator(".tile", has=page.get_by_role("heading", name="Lag")).locator(".figure")
    await expect(lag).to_have_text("0")
    await publish(bootstrap, operators.topic, [of_a_stranger()] * 3)
    await expect(lag).to_have_text("3")
    await expect(page.get_by_role("row", name="All topics 3")).to_be_visible()
    await expect(page.get_by_role("img", name="The highest lag is 3 records.")).to_be_visible()
    await expect(page.get_by_role("row", name="proxy-calls Kafka has no such topic.")).to_be_visible()


async def test_a_reason_leads_to_its_records_and_back(shared_visit: Visit) -> None:
    page = shared_visit.page
    await sign_in(shared_visit, "quarantine")
    records = page.get_by_role("checkbox", name="Select the record")
    await expect(records).to_have_count(3)
    await page.get_by_role("link", name="timestamp: is missing").click()
    await expect(records).to_have_count(2)
    await expect(page.get_by_label("Reason contains")).to_have_value("timestamp: is missing")
    await expect(page).to_have_url(
        f"{shared_visit.origin}/console/quarantine?topic=topic&reason=timestamp%3A+is+missing"
    )
    await expect(page.get_by_role("link", name="timestamp: is missing")).to_be_focused()
    await page.get_by_label("Reason contains").fill("nothing has this")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("No record has these properties.")).to_be_visible()
    await page.go_back()
    await page.go_back()
    await expect(records).to_have_count(3)


async def test_pages_of_the_quarantine_follow_each_other(
    own_visit: Visit, operators: OperatorsConsole
) -> None:
    async with operators.database() as database:
        await quarantine(database, *[b"%d" % n for n in range(60)], reason="the value is a number")
    page = own_visit.page
    await sign_in(own_visit, "quarantine?reason=a+number")
    records = page.get_by_role("checkbox", name="Select the record")
    await expect(records).to_have_count(50)
    await page.get_by_label("Select all records of this page").check()
    await expect(page.get_by_text("50 records selected")).to_be_visible()
    await page.get_by_role("link", name="Next page").click()
    await expect(records).to_have_count(10)
    await expect(page.get_by_text("No record selected")).to_be_visible()
    await page.get_by_role("link", name="First page").click()
    await expect(records).to_have_count(50)


async def test_redrive_stores_what_is_valid_now_and_tells_why_the_rest_stays(
    own_visit: Visit, operators: OperatorsConsole
) -> None:
    async with operators.database() as database:
        await quarantine(database, of_a_stranger(), b"[", reason="the organization is unknown")
        await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Stranger')", STRANGER)
    page = own_visit.page
    await sign_in(own_visit, "quarantine?reason=unknown")
    await page.get_by_label("Select all records of this page").check()
    await page.get_by_role("button", name="Redrive").click()
    outcome = page.get_by_role("status").filter(has_text="callfold retried 2 records. It stored 1. 1 stays:")
    await expect(outcome).to_be_focused()
    await expect(outcome.get_by_role("listitem")).to_contain_text("1 record of topic: The value is not JSON")
    assert await violations(page) == []
    async with operators.database() as database:
        assert await database.fetchval("SELECT count(*) FROM calls WHERE organization_id = $1", STRANGER) == 1
        assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 4


async def test_discard_asks_for_a_word_and_removes_the_chosen_records_only(
    own_visit: Visit, operators: OperatorsConsole
) -> None:
    page = own_visit.page
    await sign_in(own_visit, "quarantine")
    await page.get_by_role("checkbox", name="Select the record").first.check()
    discard = page.get_by_role("button", name="Discard …")
    await discard.click()
    permanently = page.get_by_role("button", name="Discard permanently")
    await expect(permanently).to_be_disabled()
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await expect(discard).to_be_focused()
    await discard.click()
    await page.get_by_label("Type discard to confirm").fill("discard")
    await permanently.click()
    await expect(page.get_by_role("status").filter(has_text="callfold discarded 1 record.")).to_be_focused()
    await expect(page.get_by_role("checkbox", name="Select the record")).to_have_count(2)
    async with operators.database() as database:
        left = await database.fetch("SELECT reason FROM quarantined_records ORDER BY quarantined_at")
        assert [reason for (reason,) in left] == [
            "the value is not JSON: it ends too early",
            "timestamp: is missing",
        ]


async def test_one_record_is_shown_and_redriven(own_visit: Visit, operators: OperatorsConsole) -> None:
    async with operators.database() as database:
        (record_id,) = await quarantine(database, of_a_stranger(), reason="the organization is unknown")
    page = own_visit.page
    await sign_in(own_visit, f"quarantine/{record_id}")
    await expect(page.locator(".verdict")).to_have_text("The organization is unknown.")
    await expect(page.locator("pre")).to_contain_text(f'  "organization_id": "{STRANGER}"')
    await page.get_by_role("button", name="Redrive").click()
    await expect(page.get_by_role("status").filter(has_text="It stored none. 1 stays:")).to_be_focused()
    async with operators.database() as database:
        await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Stranger')", STRANGER)
    await page.get_by_role("button", name="Redrive").click()
    await expect(page.get_by_role("status").filter(has_text="It stored 1.")).to_be_focused()
    await expect(page.get_by_role("heading", name="Value")).to_have_count(0)
    async with operators.database() as database:
        assert await database.fetchval("SELECT count(*) FROM calls WHERE organization_id = $1", STRANGER) == 1


async def test_an_unknown_record_is_told(shared_visit: Visit) -> None:
    shared_visit.expected.add(404)
    await sign_in(shared_visit, f"quarantine/{UUID(int=1)}")
    await expect(shared_visit.page.get_by_role("alert")).to_contain_text("There is no record with this id")


async def test_sources_and_webhooks_tell_what_is_disabled(shared_visit: Visit) -> None:
    page = shared_visit.page
    await sign_in(shared_visit, "sources")
    await expect(page.get_by_role("row", name="proxy")).to_contain_text("the topic proxy-calls")
    await expect(page.get_by_role("row", name="vendor")).to_contain_text("disabled")
    await page.get_by_role("link", name="proxy").click()
    await expect(page.get_by_text("Kafka has no topic proxy-calls.")).to_be_visible()
    await page.get_by_role("link", name="Webhooks").click()
    row = page.get_by_role("row", name="Acme")
    await expect(row).to_contain_text(f"callfold disabled it: {GONE}")
    await expect(row).to_contain_text("example.com")


async def test_a_proof_from_the_button_ends_exact(own_visit: Visit, operators: OperatorsConsole) -> None:
    page = own_visit.page
    await sign_in(own_visit, "proofs")
    await expect(page.get_by_text("There is no recorded proof.")).to_be_visible()
    await page.get_by_role("button", name="Prove now").click()
    await expect(page.get_by_role("progressbar", name="Proved calls")).to_be_visible()
    verdict = page.get_by_role("status").filter(has_text="All of them agree.")
    await expect(verdict).to_contain_text("EXACT", timeout=PROOF_MILLISECONDS)
    await expect(page.get_by_role("button", name="Prove now")).to_be_focused()
    assert await violations(page) == []
    async with operators.database() as database:
        assert await database.fetchval("SELECT bool_and(exact) FROM proofs") is True
        assert await database.fetchval("SELECT calls FROM proofs") == CALLS


async def test_a_difference_is_listed(own_visit: Visit, operators: OperatorsConsole) -> None:
    async with operators.database() as database:
        await database.execute(
            "UPDATE calls SET duration = coalesce(duration, 0) + 1 WHERE id = (SELECT id FROM calls LIMIT 1)"
        )
    page = own_visit.page
    await sign_in(own_visit, "proofs")
    await page.get_by_role("button", name="Prove now").click()
    await expect(page.locator(".verdict")).to_contain_text("NOT EXACT", timeout=PROOF_MILLISECONDS)
    await expect(page.locator(".differences li").first).to_contain_text(str(ACME))
    await page.get_by_role("button", name="Prove now").click()
    earlier = page.get_by_role("table", name="Earlier proofs")
    await expect(earlier).to_contain_text("NOT EXACT", timeout=PROOF_MILLISECONDS)
    await earlier.get_by_role("link").click()
    await expect(page.get_by_role("heading", name="Proof", exact=True)).to_be_visible()
    await expect(page.locator(".verdict")).to_contain_text("NOT EXACT")


async def test_without_its_database_each_page_says_why(browser: Browser, bootstrap: str, built: None) -> None:
    async with (
        serving_operators("postgresql://postgres@127.0.0.1:1/none", bootstrap, "call-events") as console,
        visiting(browser, console.origin) as visit,
    ):
        visit.expected.add(503)
        await sign_in(visit)
        for path in PAGES:
            await visit.open(f"/console/{path}")
            alert = visit.page.get_by_role("alert").first
            await expect(alert).to_contain_text("DATABASE_UNAVAILABLE")
            await expect(alert).to_contain_text("The page tries again in")
            assert await violations(visit.page) == []

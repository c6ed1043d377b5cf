"""The list of calls: its filters, pages and exports, and the changes that arrive while it is open."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, expect

from shared.database import roles
from shared.database.connection import Connection
from shared.store.delete import delete
from tests.console.conftest import Visiting
from tests.support.browser import Visit, signed_in
from tests.support.console import ACME, Console, id_of
from tests.support.console_pages import loaded
from tests.support.pipeline import Pipeline
from tests.support.processes import starting
from tests.support.roles import as_role


async def ids(page: Page) -> list[str]:
    """The ids of the rows, from the first to the last."""
    found: list[str] = await page.locator("tr[data-call]").evaluate_all(
        "rows => rows.map((row) => row.dataset.call)"
    )
    return found


async def total(page: Page) -> int:
    """The total that the page shows."""
    return int((await page.locator(".total").inner_text()).split()[0].replace(",", ""))


async def test_every_filter_is_in_the_address(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        page = visit.page
        await signed_in(visit, console.acme.key, "/console/calls")
        await loaded(page)
        everything = await ids(page)
        await page.get_by_label("busy").check()
        await page.get_by_label("failed").check()
        await page.get_by_label("From", exact=True).fill("2026-10-01")
        await page.get_by_label("To", exact=True).fill("2026-11-20")
        await page.get_by_label("Number contains").fill("4917")
        await page.get_by_label("Direction").select_option("inbound")
        await page.locator("summary", has_text="All filters").click()
        await page.get_by_label("Effective").select_option("true")
        await page.get_by_label("Order").select_option("asc")
        await page.get_by_role("button", name="Show", exact=True).click()
        address = (
            f"{console.origin}/console/calls?status=busy%2Cfailed&start_date=2026-10-01&end_date=2026-11-20"
            "&number=4917&direction=inbound&effective=true&order=asc"
        )
        await expect(page).to_have_url(address)
        await loaded(page)
        found = await ids(page)
        assert 0 < len(found) < len(everything)

        await page.reload()
        await loaded(page)
        assert await ids(page) == found
        await expect(page.get_by_label("busy")).to_be_checked()
        await expect(page.get_by_label("completed")).not_to_be_checked()
        await expect(page.get_by_label("From", exact=True)).to_have_value("2026-10-01")
        await expect(page.get_by_label("Direction")).to_have_value("inbound")
        await expect(page.get_by_label("Effective")).to_have_value("true")

        await page.go_back()
        await loaded(page)
        assert await ids(page) == everything
        await expect(page.get_by_label("busy")).not_to_be_checked()
        await page.go_forward()
        await expect(page).to_have_url(address)
        await loaded(page)
        assert await ids(page) == found
        await page.get_by_role("link", name="Clear").click()
        await loaded(page)
        assert await ids(page) == everything


async def test_the_pages_have_each_call_once(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        page = visit.page
        await signed_in(visit, console.acme.key, "/console/calls")
        await loaded(page)
        calls = await total(page)
        read = await ids(page)
        following = page.get_by_role("link", name="Next page")
        while await following.count():
            await following.click()
            await expect(page.locator(f'tr[data-call="{read[-1]}"]')).to_have_count(0)
            await loaded(page)
            read += await ids(page)
        assert len(read) == len(set(read)) == calls
        await page.get_by_role("link", name="First page").click()
        await loaded(page)
        assert await ids(page) == read[:50]


@pytest.mark.parametrize("query", ["", "?direction=outbound&answered=true&sort=duration"])
async def test_an_export_has_the_calls_of_the_list(
    visit_shared: Visiting, console: Console, query: str, tmp_path: Path
) -> None:
    async with visit_shared() as visit:
        page = visit.page
        await signed_in(visit, console.acme.key, f"/console/calls{query}")
        await loaded(page)
        calls = await total(page)
        for button, name, heads in (("Export CSV", "calls.csv", 1), ("Export JSON lines", "calls.ndjson", 0)):
            async with page.expect_download() as download:
                await page.get_by_role("button", name=button).click()
            saved = await download.value
            assert saved.suggested_filename == name
            await saved.save_as(tmp_path / name)
            with (tmp_path / name).open(newline="") as lines:
                # A transcript has several lines, but is one value.
                assert sum(1 for _ in csv.reader(lines)) == calls + heads > 10


async def test_a_value_that_the_api_refuses_is_shown_with_its_sentence(
    visit_shared: Visiting, console: Console
) -> None:
    async with visit_shared() as visit:
        visit.expected = {400}
        await signed_in(visit, console.acme.key, "/console/calls?min_duration=soon")
        await expect(visit.page.get_by_role("alert")).to_contain_text("min_duration")
        await expect(visit.page.get_by_role("alert")).to_contain_text("INVALID_PARAMETER")


@pytest.fixture
def publisher(bootstrap: str, own: Console, tmp_path: Path) -> Iterator[None]:
    """A publisher writes the changes of this test's database to its topic."""
    with starting(
        "publisher",
        tmp_path,
        database_url=as_role(own.database_url, roles.PUBLISHER),
        kafka_bootstrap=bootstrap,
        calls_topic=own.calls_topic,
        publisher_lease_seconds="2",
    ) as start:
        start()
        yield


def event(call_id: str, number: int, type_: str, timestamp: str, **data: object) -> bytes:
    """The value of a record of call events."""
    return json.dumps(
        {
            "id": f"{call_id}-new-{number}",
            "type": type_,
            "organization_id": str(ACME),
            "call_id": call_id,
            "timestamp": timestamp,
            "livemode": True,
            "data": data,
        }
    ).encode()


async def test_changes_arrive_without_moving_a_row(
    visit: Visit, own: Console, publisher: None, pipeline: Pipeline, database: Connection
) -> None:
    page = visit.page
    pipeline.start()
    await signed_in(visit, own.acme.key, "/console/calls")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await loaded(page)
    before = await ids(page)

    await pipeline.publish(
        [event("new", 0, "call.initiated", "2026-11-24T12:00:00Z", from_number="+4930111")]
    )
    announcement = page.get_by_role("button", name="1 new call: show")
    await expect(announcement).to_be_visible(timeout=40_000)
    assert await ids(page) == before

    row = page.locator(f'tr[data-call="{id_of("now-ringing")}"]')
    await expect(row).to_contain_text("ringing")
    await pipeline.publish([event("now-ringing", 1, "call.failed", "2026-11-24T11:59:40Z", status="busy")])
    await expect(row).to_contain_text("busy", timeout=40_000)
    assert await ids(page) == before

    gone = page.locator(f'tr[data-call="{id_of("talk")}"]')
    await delete(database, ACME, id_of("talk"), livemode=True, actor="somebody else")
    await expect(gone).to_contain_text("(deleted)", timeout=40_000)
    await expect(gone.get_by_role("link")).to_have_count(0)
    assert await ids(page) == before

    await announcement.click()
    await expect(page.locator("tr[data-call]").first).to_contain_text("+4930111")
    await expect(gone).to_have_count(0)


SEEN = """(isSeen) => {
    Object.defineProperty(document, "hidden", { value: !isSeen, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_a_hidden_page_closes_its_stream_and_misses_nothing(
    visit: Visit, own: Console, publisher: None, pipeline: Pipeline
) -> None:
    """A browser allows few connections, and a person opens many tabs."""
    page = visit.page
    pipeline.start()
    positions: list[str | None] = []

    def note(request: Request) -> None:
        if "/calls/stream" in request.url:
            positions.append(request.headers.get("last-event-id"))

    page.on("request", note)
    await signed_in(visit, own.acme.key, "/console/calls")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    async with page.expect_event("requestfailed", lambda request: "/calls/stream" in request.url):
        await page.evaluate(SEEN, False)

    await pipeline.publish([event("now-ringing", 1, "call.failed", "2026-11-24T11:59:40Z", status="busy")])
    await page.evaluate(SEEN, True)
    row = page.locator(f'tr[data-call="{id_of("now-ringing")}"]')
    await expect(row).to_contain_text("busy", timeout=40_000)
    assert len(positions) == 2
    assert positions[1], "it resumes where it was, although no change had come"

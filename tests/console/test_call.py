"""The page of one call: its time line, recording, events and deletion."""

import json
from urllib.parse import urlsplit

from playwright.async_api import Route, expect

from shared.database.connection import Connection
from tests.console.conftest import Visiting
from tests.support.browser import Visit, signed_in
from tests.support.console import RECORDING, Console, id_of
from tests.support.console_pages import TALK, loaded


async def test_the_time_line_says_what_happened_and_who_ended_it(
    visit_shared: Visiting, console: Console
) -> None:
    async with visit_shared() as visit:
        await signed_in(visit, console.acme.key, TALK)
        await loaded(visit.page)
        await expect(visit.page.get_by_role("heading", level=1)).to_have_text("+491701234567 → +4930901820")
        await expect(visit.page.locator(".time-line title")).to_have_text(
            "ringing 6.3 s, talk 90 s; completed, duration 1:30"
        )
        await expect(visit.page.locator(".phases")).to_contain_text(
            "ended: completed by callee, normal clearing"
        )
        await expect(visit.page.locator(".made-up")).to_have_count(0)


async def test_an_end_that_callfold_made_up_is_marked(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await signed_in(visit, console.acme.key, f"/console/calls/{id_of('without-an-end')}")
        await loaded(visit.page)
        await expect(visit.page.locator(".phases")).to_contain_text(
            "no end arrived: callfold made up this one"
        )
        made_up = visit.page.locator(".events li", has_text="callfold.missing_hangup")
        await expect(made_up).to_contain_text("made up by callfold")
        await expect(visit.page.locator("svg .made-up")).to_have_count(1)


async def test_each_event_has_its_raw_data(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        await signed_in(visit, console.acme.key, TALK)
        await expect(visit.page.get_by_role("heading", name="Events (4)")).to_be_visible()
        ended = visit.page.locator(".events li", has_text="call.completed")
        await expect(ended.locator("pre")).not_to_be_visible()
        await ended.locator("summary").click()
        shown = json.loads(await ended.locator("pre").inner_text())
        assert (shown["id"], shown["type"]) == ("talk-3", "call.completed")
        assert shown["data"]["ended_by"] == "callee"


async def test_a_recording_is_loaded_only_after_the_click(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        recordings = urlsplit(RECORDING)
        visit.other_origins.add(f"{recordings.scheme}://{recordings.netloc}")

        async def silence(route: Route) -> None:
            await route.fulfill(body=SILENCE, content_type="audio/wav")

        await visit.page.route(RECORDING, silence)  # the source's own server
        await signed_in(visit, console.acme.key, TALK)
        await loaded(visit.page)
        assert not [url for url in visit.urls if "recording" in url]
        async with visit.page.expect_request(RECORDING):
            await visit.page.get_by_role("button", name="Load the recording").click()
        await expect(visit.page.locator("audio")).to_have_attribute("src", RECORDING)
        await expect(visit.page.get_by_role("link", name="Open the link")).to_have_attribute(
            "href", RECORDING
        )


SILENCE = (
    b"RIFF\x2c\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00"
    b"\x02\x00\x10\x00data\x08\x00\x00\x00" + bytes(8)
)


async def test_a_deletion_needs_the_right_word(visit: Visit, own: Console, database: Connection) -> None:
    page = visit.page
    talk = id_of("talk")
    await signed_in(visit, own.acme.key, TALK)
    await page.get_by_role("button", name="Delete this call").click()
    confirm = page.get_by_role("button", name="Delete permanently")
    await expect(confirm).to_be_disabled()
    word = page.get_by_role("textbox", name="confirm")
    await word.fill("delete")
    await page.keyboard.press("Enter")
    await expect(confirm).to_be_disabled()
    assert await database.fetchval("SELECT count(*) FROM calls WHERE id = $1", talk) == 1

    await word.fill(str(talk)[:8])
    await confirm.click()
    await expect(page).to_have_url(f"{own.origin}/console/calls")
    await loaded(page)
    await expect(page.locator("tr[data-call]").first).to_be_visible()
    await expect(page.locator(f'tr[data-call="{talk}"]')).to_have_count(0)
    assert await database.fetchval("SELECT count(*) FROM calls WHERE id = $1", talk) == 0


async def test_a_call_that_does_not_exist_is_told_so(visit_shared: Visiting, console: Console) -> None:
    async with visit_shared() as visit:
        visit.expected = {404}
        await signed_in(visit, console.acme.key, f"/console/calls/{id_of('none')}")
        await expect(visit.page.get_by_role("alert")).to_contain_text("NOT_FOUND")

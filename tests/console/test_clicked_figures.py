"""Every figure of the overview opens the list of exactly the calls that it counts."""

import random
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import Visiting
from tests.support.api import NOW
from tests.support.browser import signed_in
from tests.support.console import DAYS, NUMBERS, Console
from tests.support.console_pages import loaded

pytestmark = pytest.mark.long

FIGURES = 100
FIGURES_PER_OVERVIEW = 10


def filters(chosen: random.Random) -> dict[str, str]:
    """A random span with a random interval, and at times one direction or one number."""
    start, end = sorted(NOW.date() - timedelta(days=chosen.randrange(DAYS)) for _ in range(2))
    intervals = ["hour"] if (end - start).days < 5 else ["day", "week", "month"]
    asked = {
        "start_date": start.isoformat(),
        "end_date": end.isoformat(),
        "interval": chosen.choice(intervals),
    }
    if chosen.random() < 0.3:
        asked["direction"] = chosen.choice(["inbound", "outbound", "unknown"])
    if chosen.random() < 0.3:
        asked["phone_number_id"] = str(chosen.choice(list(NUMBERS)))
    return asked


async def links_with_counts(page: Page, within: str = "") -> list[tuple[str, str]]:
    """The address of each link to a list, with its text, which is a number of calls and maybe a word."""
    found: list[tuple[str, str]] = await page.locator(
        f'main {within}a[href^="/console/calls?"]'
    ).evaluate_all("links => links.map((link) => [link.getAttribute('href'), link.textContent])")
    return [(address, text) for address, text in found if re.fullmatch(r"[\d,]+( [a-z]{4,})?", text)]


def count(text: str) -> int:
    """The number of a link, such as 1,204 of `1,204 answered`."""
    found = re.match(r"[\d,]+", text.strip())
    assert found is not None, text
    return int(found[0].replace(",", ""))


async def test_a_hundred_random_figures(visit_shared: Visiting, console: Console) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    async with visit_shared() as visit:
        page = visit.page
        await signed_in(visit, console.acme.key)
        counts: list[int] = []
        while len(counts) < FIGURES:
            overview = f"/console/?{urlencode(filters(chosen))}"
            await visit.open(overview)
            await loaded(page)
            links = await links_with_counts(page)
            folded = await links_with_counts(page, "details ")
            outside = [link for link in links if link not in folded]
            for _ in range(FIGURES_PER_OVERVIEW):
                # The table has many links and would hide the others.
                address, text = chosen.choice(chosen.choice([links, outside]))
                if (address, text) not in outside:
                    await page.locator("summary").click()
                await page.locator(f'main a[href="{address}"]', has_text=text).first.click()
                calls = "call" if count(text) == 1 else "calls"
                await expect(page.locator(".total"), f"{overview} → {address}, seed {seed}").to_have_text(
                    f"{count(text):,} {calls}"
                )
                counts.append(count(text))
                await page.go_back()
        assert len(set(counts)) > 10

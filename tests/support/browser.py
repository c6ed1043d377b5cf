"""A real browser: Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
)

from tests.support.api import NOW

MISSING = "Chromium is not installed; Debian's package chromium provides it"
_ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--no-first-run",
    "--no-pings",
)
_TELL_VIOLATIONS = """
    addEventListener("securitypolicyviolation", (event) =>
        console.error(`CSP: ${event.violatedDirective} forbids ${event.blockedURI || event.sample}`));
"""
Scheme = Literal["light", "dark"]


def missing_chromium() -> str | None:
    """Why no browser can be started; None if one can."""
    return None if shutil.which("chromium") else MISSING


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*_ARGUMENTS, *(["--no-sandbox"] if os.getuid() == 0 else [])],
        )
        yield browser
        await browser.close()


class Visit:
    """A page of one origin in a browser of its own, with what it requested and what went wrong."""

    def __init__(self, context: BrowserContext, page: Page, origin: str) -> None:
        self.context = context
        self.page = page
        self.origin = origin
        self.urls: list[str] = []
        self.faults: list[str] = []
        self.expected: set[int] = set()
        """Statuses of HTTP errors that the test causes."""
        self.other_origins: set[str] = set()
        """Origins beside the page's own that the test lets it reach."""
        context.on("request", self._requested)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.faults.append(f"uncaught: {error.error}"))

    async def open(self, address: str = "/console/") -> None:
        """Opens an address of the console."""
        await self.page.goto(self.origin + address)

    def _requested(self, request: Request) -> None:
        self.urls.append(request.url)
        parts = urlsplit(request.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme not in ("data", "blob") and origin not in {self.origin, *self.other_origins}:
            self.faults.append(f"a request to another host: {request.url}")

    def _said(self, message: ConsoleMessage) -> None:
        is_expected = any(f"status of {status} " in message.text for status in self.expected)
        if message.type in ("error", "warning") and not is_expected:
            self.faults.append(f"{message.type}: {message.text} ({message.location.get('url')})")


@asynccontextmanager
async def visiting(
    browser: Browser, origin: str, *, scheme: Scheme = "light", width: int = 1280
) -> AsyncIterator[Visit]:
    """A page in a fresh profile, whose clock stands still. Fails at the end if anything went wrong in it."""
    context = await browser.new_context(
        locale="en-GB",
        timezone_id="Europe/London",
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    context.set_default_timeout(15_000)
    await context.clock.set_fixed_time(NOW)
    await context.add_init_script(_TELL_VIOLATIONS)
    visit = Visit(context, await context.new_page(), origin)
    yield visit
    await context.close()
    assert visit.faults == []

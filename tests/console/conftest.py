"""A browser, and consoles with real databases and topics. Tests that change nothing share one console."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from playwright.async_api import Browser

from services.ops.embedded.servers import Servers
from tests.support.browser import Visit, chromium, missing_chromium, visiting
from tests.support.built_console import ensure_built
from tests.support.console import Console, console_of
from tests.support.databases import Databases

Visiting = Callable[..., AbstractAsyncContextManager[Visit]]


@pytest.fixture(scope="session")
def built() -> None:
    """The console is built in this clone."""
    ensure_built()


@pytest.fixture(scope="session")
async def browser(running: Servers) -> AsyncIterator[Browser]:
    """The browser of this process. Each visit is a fresh profile."""
    if missing := missing_chromium():
        pytest.skip(missing)
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
async def console(databases: Databases, bootstrap: str, built: None) -> AsyncIterator[Console]:
    """A console with calls, which no test changes."""
    async with (
        databases.migrated() as database_url,
        console_of(database_url, bootstrap) as console,
    ):
        yield console


@pytest.fixture
async def own(database_url: str, bootstrap: str, built: None) -> AsyncIterator[Console]:
    """A console with calls, which this test may change."""
    async with console_of(database_url, bootstrap) as console:
        yield console


@pytest.fixture
async def visit_shared(browser: Browser, console: Console) -> Visiting:
    """Opens a visit to the shared console."""
    return partial(visiting, browser, console.origin)


@pytest.fixture
async def visit(browser: Browser, own: Console) -> AsyncIterator[Visit]:
    """A visit to this test's own console."""
    async with visiting(browser, own.origin) as visit:
        yield visit

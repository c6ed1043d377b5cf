"""Measures how soon the console shows its first figure, in Chromium.

    .venv/bin/python -m benchmarks.console ADDRESS [--loads 10]

ADDRESS is the console's with a key in its fragment, as `callfold demo` prints it. Each load has a browser
context of its own, so nothing is cached. The time lasts from the navigation until the first figure is in the
document. One load before the others warms the API. The transfer is the sum of the encoded bodies of the
console's own files. The browser, the API and its servers share the machine."""

import argparse
import asyncio
import shutil
import sys
import time
from statistics import median
from typing import Final

from playwright.async_api import Browser, Response, async_playwright

FIGURE: Final = ".figure"
TIMEOUT_MILLISECONDS: Final = 30_000


async def measure(address: str, loads: int) -> None:
    """Prints the seconds of each load, and the bytes of the last one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Error: this benchmark needs Chromium: install the package chromium.")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        await _load(browser, address)
        measured = [await _load(browser, address) for _ in range(loads)]
        await browser.close()
    seconds = [one for one, _ in measured]
    print(f"first figure: median {median(seconds):.2f} s, longest {max(seconds):.2f} s of {loads} loads")
    print(f"transfer of the console's files: {measured[-1][1]:,} bytes")


async def _load(browser: Browser, address: str) -> tuple[float, int]:
    """The seconds until the first figure, and the bytes of the console's files."""
    context = await browser.new_context()
    page = await context.new_page()
    files: list[Response] = []
    page.on("response", lambda response: files.append(response) if "/console/" in response.url else None)
    began = time.perf_counter()
    await page.goto(address, wait_until="commit", timeout=TIMEOUT_MILLISECONDS)
    await page.wait_for_selector(FIGURE, timeout=TIMEOUT_MILLISECONDS)
    seconds = time.perf_counter() - began
    sizes = [(await one.request.sizes())["responseBodySize"] for one in files]
    await context.close()
    return seconds, sum(sizes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", metavar="ADDRESS")
    parser.add_argument("--loads", type=int, default=10)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.address, arguments.loads))

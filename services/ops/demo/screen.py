"""The screen of the demo: it reads everything from the HTTP API, as any client would."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, get_args

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from services.ops.demo.account import Account
from services.ops.demo.simulated_call import Organization
from services.ops.embedded.state import State
from services.ops.terminal.failure import Failure
from services.ops.terminal.printing import console, table
from shared.calls.event import Status
from shared.calls.fold import OPEN

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
DAYS_SHOWN: Final = 8
WIDTH_UNLIMITED: Final = 1_000
_OPEN: Final = len(OPEN)  # the first statuses are those of active calls
REFRESH_SECONDS: Final = 1
SECONDS_BETWEEN_LINES: Final = 5


@dataclass(frozen=True)
class Customer:
    """An organization of the demo with its keys."""

    organization: Organization
    live_key: str
    test_key: str


class Client:
    """The demo's requests to the API."""

    def __init__(self, api_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=api_url, timeout=15)

    async def stats(self, key: str) -> dict[str, Any]:
        """The calls by status. Like the other requests, raises Failure unless the API returns status 200."""
        return await self._calls(key, {"action": "stats"})

    async def trends(self, key: str, first: date, last: date) -> dict[str, Any]:
        """The daily counts from the first to the last day."""
        parameters = {"action": "trends", "start_date": first.isoformat(), "end_date": last.isoformat()}
        return await self._calls(key, parameters)

    async def recent_trends(self, key: str) -> dict[str, Any]:
        """The daily counts of the last 30 days."""
        return await self._calls(key, {"action": "trends"})

    async def close(self) -> None:
        await self._http.aclose()

    async def _calls(self, key: str, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            answer = await self._http.get(
                "/calls", params=parameters, headers={"Authorization": f"Bearer {key}"}
            )
        except httpx.HTTPError as error:
            raise Failure(f"The API did not respond: {str(error) or type(error).__name__}.") from None
        if answer.status_code != httpx.codes.OK:
            raise Failure(f"The API returned {answer.status_code}: {answer.text[:500]}")
        body: dict[str, Any] = json.loads(answer.text, parse_float=Decimal)
        return body


def print_addresses(stack: State, topic: str, customers: Sequence[Customer]) -> None:
    """Prints the addresses, the keys of each organization, and commands to try."""
    api_url = stack.api_url
    to = console()
    for one in customers:
        to.print(
            f"{one.organization.name} ({one.organization.time_zone}, {one.organization.id})", style="bold"
        )
        to.print(
            f"  key {one.live_key}\n  key of its test calls {one.test_key}\n"
            f"  console {console_address(api_url, one.live_key)}",
            soft_wrap=True,
        )
    key = customers[0].live_key
    if stack.console_url is not None:
        to.print(f"\nOperators' console: {stack.console_url}", soft_wrap=True)
    to.print(
        f"\nAPI {api_url} (its documentation: {api_url}/docs), Kafka {stack.kafka}, topic {topic}. Try:\n"
    )
    for path in ("/calls?limit=3", "/calls?action=stats", "/calls?action=trends"):
        to.print(f"  curl -s -H 'Authorization: Bearer {key}' '{api_url}{path}'", soft_wrap=True)
    to.print(f"  curl -sN -H 'Authorization: Bearer {key}' '{api_url}/calls/stream'", soft_wrap=True)
    to.print()


def console_address(api_url: str, key: str) -> str:
    """The address of the console with a key. A browser sends no fragment, so no log can have it."""
    return f"{api_url}/console/#key={key}"


async def print_overview(client: Client, customers: Sequence[Customer], producers: Sequence[Account]) -> None:
    """Prints the tables of the live screen once."""
    to = console()
    to.print(await _overview(client, customers, producers, to))


async def show(client: Client, customers: Sequence[Customer], producers: Sequence[Account]) -> None:
    """Shows stats and trends, refreshed every second, until it is cancelled. If standard output is not a
    terminal, it prints one line per organization every few seconds instead."""
    to = console()
    if not to.is_terminal:
        await _print_lines(client, customers, producers)
    with Live(console=to, auto_refresh=False, vertical_overflow="crop") as screen:
        while True:
            try:
                shown = await _overview(client, customers, producers, to)
            except Failure as failure:
                shown = Text(str(failure), style="red")
            screen.update(shown, refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)


async def _print_lines(client: Client, customers: Sequence[Customer], producers: Sequence[Account]) -> None:
    while True:
        try:
            for one in customers:
                stats = await client.stats(one.live_key)
                counts = ", ".join(f"{status} {stats['by_status'][status]:,}" for status in STATUSES)
                now = f"{datetime.now(UTC):%H:%M:%S}"
                print(f"{now} {one.organization.name}: {stats['total']:,} calls: {counts}", flush=True)
        except Failure as failure:
            print(failure, flush=True)
        delivered = ", ".join(f"{one.producer} {one.calls:,} calls" for one in producers)
        print(f"{datetime.now(UTC):%H:%M:%S} Delivered: {delivered}", flush=True)
        await asyncio.sleep(SECONDS_BETWEEN_LINES)


async def _overview(
    client: Client, customers: Sequence[Customer], producers: Sequence[Account], to: Console
) -> RenderableType:
    stats = [await client.stats(one.live_key) for one in customers]
    trends = await client.recent_trends(customers[0].live_key)
    first = customers[0].organization
    organizations = [
        (one.organization.name, answer, answer["total_duration"], answer["total_cost"])
        for one, answer in zip(customers, stats, strict=True)
    ]
    days = [(day["date"], day, day["duration"], day["cost"]) for day in trends["data"][-DAYS_SHOWN:]]
    trends_title = f"Trends: {first.name}, days in {first.time_zone}"
    unlimited = to.options.update(max_width=WIDTH_UNLIMITED)
    for figures in (_all_figures, _few_figures):
        tables = (
            _table("organization", organizations, "Stats: all live calls", figures),
            _table("day", days, trends_title, figures),
        )
        if all(Measurement.get(to, unlimited, one).maximum <= to.width for one in tables):
            break
    return Group(tables[0], Text(), tables[1], Text(), _producers(producers))


def _producers(producers: Sequence[Account]) -> Table:
    columns = ["producer", "calls", "records", "events", "duplicates", "broken"]
    rows = [
        (one.producer, one.calls, one.records, one.events, one.duplicates, len(one.broken))
        for one in producers
    ]
    return table(columns, rows, title="Producers: what each delivered")


_Row = tuple[str, Mapping[str, Any], int, Decimal]
_Figures = Callable[[Mapping[str, Any], int, Decimal], dict[str, object]]


def _table(first: str, rows: Sequence[_Row], title: str, figures: _Figures) -> Table:
    """The figures of each row, below their headings."""
    lines = [(name, figures(counts, seconds, cents)) for name, counts, seconds, cents in rows]
    headings = [first, *(lines[0][1] if lines else ())]
    return table(headings, [(name, *line.values()) for name, line in lines], title=title)


def _all_figures(answer: Mapping[str, Any], seconds: int, cents: Decimal) -> dict[str, object]:
    counts = {status.replace("_", " "): answer["by_status"][status] for status in STATUSES}
    return {"calls": answer["total"], **counts, "minutes": seconds // 60, "cost ¢": round(cents)}


def _few_figures(answer: Mapping[str, Any], seconds: int, cents: Decimal) -> dict[str, object]:
    """For a narrow terminal: active calls in one column, without minutes and cost."""
    counts = {status.replace("_", " "): answer["by_status"][status] for status in STATUSES[_OPEN:]}
    active = sum(answer["by_status"][status] for status in STATUSES[:_OPEN])
    return {"calls": answer["total"], "open": active, **counts}

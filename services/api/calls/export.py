"""The export: all calls of a list in one answer, from one snapshot, streamed in constant memory."""

import asyncio
import codecs
import csv
import io
import logging
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.api.access.credentials import MayReadCalls
from services.api.calls import documentation
from services.api.calls.list_query import MATCHING, CallFilters, ExportQuery, Order, call_filters_of
from services.api.calls.pages import READ, SHORT_TRANSCRIPT_BYTES, has_few, ordered_by_time
from services.api.calls.running_api import Api
from services.api.database.databases import Connection, Database
from services.api.figures.intervals import in_zone
from services.api.http.compression import GZIP_WINDOW, takes_gzip
from services.api.http.errors import ApiError, invalid_parameter
from services.api.http.query import read_query
from shared.calls.shown_call import SHOWN_FIELDS, shown_call
from shared.database.statement import Statement
from shared.encoding import encode

BLOCK_BYTES: Final = 128 * 1024
CHUNK_CALLS: Final = 500
"""How many calls are read at once, with up to 16 KiB of transcript each."""
SEND_SECONDS: Final = 30
"""How long a client may read nothing before the export is aborted."""

_ORDERS: Final[tuple[Order, ...]] = get_args(Order)
EXPORT: Final = {
    order: Statement(f"SELECT {READ} FROM calls WHERE {MATCHING} ORDER BY {ordered_by_time(order)}")
    for order in _ORDERS
}
_TRANSCRIPT: Final = Statement(
    "SELECT transcript FROM calls WHERE organization_id = :organization_id AND id = :call_id"
)
# A sort would read all calls before it sends the first; an index has them in order.
_BY_INDEX: Final = "SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off"

_TEXTS: Final = frozenset(
    {"external_id", "from_number", "to_number", "hangup_cause", "recording_url", "transcript"}
)
_TIMES: Final = ("created_at", "answered_at", "completed_at")
_DEFUSED: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")
"""Characters that make a spreadsheet read a cell as a formula, full-width ones included. The last one, the
apostrophe, escapes them."""

Format = Literal["csv", "ndjson"]
_MEDIA_TYPES: Final[dict[Format, str]] = {"csv": "text/csv", "ndjson": "application/x-ndjson"}

router = APIRouter(tags=["calls"])

log = logging.getLogger("callfold.api")


class ExportCut(Exception):
    """An export that fails after its first byte. The server closes the connection, so that no client mistakes
    the part for the whole."""


async def export_query(request: Request) -> ExportQuery:
    """The dependency that reads the query of `GET /calls/export`. Raises the 400 `ApiError`."""
    return read_query(request, ExportQuery)


@router.get("/calls/export", **documentation.EXPORT_CALLS)
async def export_calls(
    request: Request, principal: MayReadCalls, query: Annotated[ExportQuery, Depends(export_query)]
) -> Response:
    """Returns all calls of a list, newest first, as CSV or as JSON lines. All of it comes from one snapshot
    of the database, however long it takes. If the export fails midway, the server closes the connection
    before the final (empty) chunk; discard such a file.

    **CSV** follows RFC 4180, in UTF-8, with a header. The export puts a `'` before a text that begins with
    `=`, `+`, `-`, `@`, a full-width form of these, a tab, a line break or `'`. Spreadsheets then do not run
    it as a formula. This also applies to phone numbers. Remove one leading `'` to get the original text.

    **JSON lines** have exactly the calls of the list. With `Accept-Encoding: gzip` the export is compressed.

    The number of concurrent exports is limited, and one organization cannot use all of them. Beyond the limit
    the code is `EXPORTS_BUSY`; retry later. A client that reads nothing for 10 s
    (`CALLFOLD_API_CLIENT_SECONDS`), or takes over 30 s for one block, is disconnected.
    """
    if query.bom and query.format != "csv":
        raise invalid_parameter("bom", "applies only to format=csv")
    api = Api.of(request)
    asked = Asked(
        call_filters_of(principal, query),
        query.order,
        query.format,
        api.search_calls,
        query.time_zone,
        query.bom,
    )
    compressed = takes_gzip(request)
    return Export(api.databases.reading, asked, compressed, api.export_seconds)


class Asked(NamedTuple):
    """What to export, and how."""

    filters: CallFilters
    order: Order
    format: Format
    search_calls: int
    zone: ZoneInfo | None = None
    """The time zone of times in the file, instead of UTC."""
    byte_order_mark: bool = False


class Export(StreamingResponse):
    """The answer. It holds a connection while it is sent, for at most `seconds`."""

    def __init__(self, database: Database, asked: Asked, compressed: bool, seconds: float) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="calls.{asked.format}"',
            "Cache-Control": "private, no-store",
            "Vary": "Accept-Encoding",
        }
        if compressed:
            headers["Content-Encoding"] = "gzip"
        super().__init__((), headers=headers, media_type=_MEDIA_TYPES[asked.format])
        self._database = database
        self._asked = asked
        self._compressed = compressed
        self._seconds = seconds
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application. Raises the 503 `ApiError` before the first byte, and `ExportCut` after it."""
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_until_left(receive))
        try:
            done, _ = await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if sending not in done:
            return
        try:
            sending.result()
        except ApiError as error:
            if not self._started:
                raise
            log.warning("an export was aborted: %s", error.code.name)
            raise ExportCut(error.code.name) from None

    async def _send_all(self, send: Send) -> None:
        ends = asyncio.get_running_loop().time() + self._seconds
        compressor = zlib.compressobj(level=4, wbits=GZIP_WINDOW) if self._compressed else None
        async with (
            self._database.export(self._asked.filters.cells.organization_id) as connection,
            aclosing(_blocks(connection, self._asked, self._seconds)) as blocks,
        ):
            async for block in blocks:
                if not self._started:
                    await self._send(send, _start(self.status_code, self.raw_headers), ends)
                    self._started = True
                body = await asyncio.to_thread(compressor.compress, block) if compressor else block
                if body:
                    await self._send(send, _body(body, more=True), ends)
            await self._send(send, _body(compressor.flush() if compressor else b"", more=False), ends)

    async def _send(self, send: Send, message: Message, ends: float) -> None:
        """Raises `ExportCut` when the client takes over `SEND_SECONDS` for one block, or the export takes too
        long."""
        left = min(SEND_SECONDS, ends - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(left):
                await send(message)
        except TimeoutError:
            log.warning("an export was aborted: the client read too slowly")
            raise ExportCut from None


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _body(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _blocks(connection: Connection, asked: Asked, seconds: float) -> AsyncGenerator[bytes, None]:
    """The export in blocks of at least `BLOCK_BYTES`; there is a first block even if there are no calls."""
    filters = asked.filters
    if not await has_few(connection, filters, asked.search_calls):
        await connection.execute(_BY_INDEX)
    cursor = await EXPORT[asked.order].cursor(connection, **filters.parameters, timeout_seconds=seconds)
    block = bytearray(codecs.BOM_UTF8 if asked.byte_order_mark else b"")
    block += _csv_row(SHOWN_FIELDS) if asked.format == "csv" else b""
    rows = await cursor.fetch(CHUNK_CALLS, timeout=seconds)
    first = True
    while rows:
        for row in rows:
            call = shown_call(row)
            if asked.zone:
                call |= {field: in_zone(row[field], asked.zone) for field in _TIMES if row[field]}
            if row["transcript_bytes"] > SHORT_TRANSCRIPT_BYTES:
                organization_id = filters.cells.organization_id
                call["transcript"] = await _TRANSCRIPT.fetchval(
                    connection, organization_id=organization_id, call_id=row["id"]
                )
            block += _csv_call(call) if asked.format == "csv" else encode(call) + b"\n"
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                first = False
                block.clear()
        rows = await cursor.fetch(CHUNK_CALLS, timeout=seconds)
    if block or first:
        yield bytes(block)


def _csv_call(call: dict[str, Any]) -> bytes:
    return _csv_row([_cell(field, value) for field, value in call.items()])


def _csv_row(cells: Sequence[object]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(cells)
    return written.getvalue().encode()


def _cell(field: str, value: object) -> object:
    """A value as a CSV cell: empty for null, text with formulas escaped, everything else as in JSON."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str() if field in _TEXTS and value.startswith(_DEFUSED):
            return f"'{value}"
        case _:
            return value

"""The output of commands: JSON for scripts, tables for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
WIDTH_OF_NO_TERMINAL: Final = 250
_GAP: Final = 2
"""The columns of a table are this far apart."""
_NARROWEST_TEXT: Final = 30
"""The last column of a table may break its texts down to this width."""


def print_json(value: object) -> None:
    """Prints one line of JSON on standard output. Decimals become numbers, dataclasses become objects."""
    typer.echo(_encode(value))


def counted(count: int, one: str) -> str:
    """A count with its noun: `1 call`, `2,000 calls`."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def console() -> Console:
    """Standard output. Lines do not break where it is not a terminal."""
    to = Console(highlight=False)
    return to if to.is_terminal else Console(highlight=False, width=WIDTH_OF_NO_TERMINAL)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table on standard output, or one block of lines per row where the terminal is too narrow."""
    to, rows = console(), list(rows)
    lines = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if _fits(columns, lines, to.width):
        made = table(columns, rows)
        for column in made.columns[:-1]:
            column.no_wrap = True
        to.print(made)
        return
    for number, line in enumerate(lines):
        block = Table.grid(padding=(0, _GAP, 0, 0))
        for name, cell in zip(columns, line, strict=True):
            block.add_row(Text(name, style="bold", no_wrap=True), Text(cell, overflow="fold"))
        if number:
            to.print()
        to.print(block)


def _fits(columns: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> bool:
    """Whether every column but the last fits without a break, and the last has room for words."""
    *others, last = (max(map(cell_len, cells)) for cells in zip(columns, *lines, strict=True))
    return sum(others) + _GAP * len(others) + min(last, _NARROWEST_TEXT) <= width


def minute(instant: datetime | None) -> str:
    """An instant to the minute, in its own time zone; empty for None."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


def second(instant: datetime | None) -> str:
    """An instant to the second, in its own time zone; empty for None."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"


def mode(livemode: bool) -> str:
    """The mode of calls or keys: live or test."""
    return "live" if livemode else "test"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """A plain table; numbers are right-aligned. A cell's content is text, never markup."""
    lines = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for index, column in enumerate(columns):
        numbers = all(isinstance(line[index], int | float | None) for line in lines) and bool(lines)
        made.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for line in lines:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in line))
    return made

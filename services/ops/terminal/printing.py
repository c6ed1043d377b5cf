"""What commands print: JSON for scripts, tables for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
WIDTH_OF_NO_TERMINAL: Final = 250


def print_json(value: object) -> None:
    """Prints one line of JSON on standard output: decimals are numbers, dataclasses objects."""
    typer.echo(_encode(value))


def counted(count: int, one: str) -> str:
    """So many of a thing: `1 call`, `2,000 calls`."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def console() -> Console:
    """Standard output, wide enough not to break lines where it is no terminal."""
    to = Console(highlight=False)
    return to if to.is_terminal else Console(highlight=False, width=WIDTH_OF_NO_TERMINAL)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table on standard output."""
    console().print(table(columns, rows))


def minute(instant: datetime | None) -> str:
    """An instant to its minute, in its own time zone; nothing for none."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


def mode(livemode: bool) -> str:
    """Which calls are meant: live or test ones."""
    return "live" if livemode else "test"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """A plain table; numbers stand on the right. What is in a cell is text, never markup."""
    lines = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for index, column in enumerate(columns):
        numbers = all(isinstance(line[index], int | float | None) for line in lines) and bool(lines)
        made.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for line in lines:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in line))
    return made

"""A bar on standard error for commands that take their time."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Told = Callable[[int, str], None]
"""Told how many are done, and where the work stands."""


@contextmanager
def progress(what: str, expected: int | None, *, quiet: bool = False) -> Iterator[Told]:
    """Shows how many of these things are done, at which rate, and the time that is left; nothing where
    standard error is no terminal. When the work does not come to its end, by an interrupt or a fault, the
    last place is said."""
    place = ""
    shown = not quiet and sys.stderr.isatty()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
            task = bar.add_task(what, total=expected or None, rate="")

            def told(done: int, where: str) -> None:
                nonlocal place
                place = where
                speed = bar.tasks[task].speed
                bar.update(
                    task,
                    completed=done,
                    total=expected and max(expected, done),
                    rate=f"{speed:,.0f}/s" if speed else "",
                )

            yield told
    except BaseException as end:  # an interrupt is a CancelledError in here
        if place and not isinstance(end, GeneratorExit):
            print(f"Interrupted behind {place}.", file=sys.stderr)
        raise

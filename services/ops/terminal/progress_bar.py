"""A bar on standard error for commands that take their time."""

import sys
from collections.abc import Iterator
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


class Bar:
    """How far a command has come. `place` is where the work stands, for who goes on with it."""

    def __init__(self, progress: Progress, what: str, expected: int | None) -> None:
        self.place = ""
        self._progress = progress
        self._task = progress.add_task(what, total=expected or None, rate="")
        self._expected = expected

    def expect(self, what: str, expected: int | None) -> None:
        """Counts these things from now on; `expected` is None where nobody knows how many there are."""
        self._expected = expected
        self._progress.update(self._task, description=what)

    def advance(self, done: int, place: str = "") -> None:
        """Shows that so many are done in all, and at which rate."""
        self.place = place
        speed = self._progress.tasks[self._task].speed
        self._progress.update(
            self._task,
            completed=done,
            total=self._expected and max(self._expected, done),
            rate=f"{speed:,.0f}/s" if speed else "",
        )


@contextmanager
def progress(what: str, expected: int | None, *, quiet: bool = False) -> Iterator[Bar]:
    """Shows how many of these things are done, at which rate, and the time that is left; nothing where
    standard error is no terminal. When an interrupt or a fault ends the work, the last place is printed."""
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
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as shows:
        bar = Bar(shows, what, expected)
        try:
            yield bar
        except BaseException as end:  # an interrupt is a CancelledError in here
            if bar.place and not isinstance(end, GeneratorExit):
                shows.stop()
                print(f"Interrupted behind {bar.place}.", file=sys.stderr)
            raise

"""A progress bar on standard error for long-running commands."""

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
    """The progress of a command. `place` is its last position, from which the operator can resume."""

    def __init__(self, progress: Progress, what: str, expected: int | None) -> None:
        self.place = ""
        self._progress = progress
        self._task = progress.add_task(what, total=expected or None, rate="")
        self._expected = expected

    def expect(self, what: str, expected: int | None) -> None:
        """Counts these items from now on; `expected` is None where their number is unknown."""
        self._expected = expected
        self._progress.update(self._task, description=what)

    def advance(self, done: int, place: str = "") -> None:
        """Shows the total that is done, and the rate."""
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
    """Shows the number of items that are done, the rate and the remaining time.

    Shows nothing where standard error is not a terminal. Prints the last position when an interrupt or a
    fault ends the work."""
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
                print(f"Interrupted after {bar.place}.", file=sys.stderr)
            raise

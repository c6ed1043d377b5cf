"""What an operator can be told in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager


class Failure(Exception):
    """A fault whose cause lies outside the program; its text is a sentence for the operator."""


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Around imports of what only some installations have. Raises Failure that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(
            f"This command needs callfold's extra `{name}`, which is no part of this installation (there "
            f"is no {error.name} here): in a clone, `./callfold` has it, and so has "
            f"`pip install '.[{name}]'`."
        ) from None

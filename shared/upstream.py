"""Checks of the private parts of libraries that callfold relies on, at the place of use."""

from importlib.metadata import version


class UpstreamChanged(Exception):
    """A library no longer has a private part that callfold relies on; the text is a sentence."""


def expect_parts(library: str, owner: object, *names: str) -> None:
    """Checks that `owner`, a part of this library, has these attributes. Raises UpstreamChanged."""
    for name in names:
        if not hasattr(owner, name):
            of = getattr(owner, "__name__", type(owner).__name__)
            raise UpstreamChanged(
                f"{library} {version(library)} changed {of}.{name}: see docs/explanation/upstream.md."
            )

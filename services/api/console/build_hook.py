"""Hatchling's hook: a wheel contains the built console. A clone builds it by itself (`.bootstrap.sh`)."""

import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConsoleHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds the console before the files of a wheel are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs the build, unless the installation is editable. Raises BuildFailed."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from services.api.console.build import build

        build()

"""Every generated page of docs/reference, by the name of its file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from services.ops.reference import (
    admin_page,
    api_page,
    command_line_page,
    dialects_page,
    errors_page,
    metrics_page,
    roles_page,
    settings_page,
    tables_page,
)
from shared.dialects.registry import DIALECTS

FOLDER: Final = Path("docs", "reference")

PAGES: Final[Mapping[str, Callable[[str], str]]] = {
    "api.md": lambda _: api_page.page_of_the_api(),
    "admin-api.md": lambda _: admin_page.page_of_the_admin_api(),
    "settings.md": lambda _: settings_page.page_of_settings(),
    "cli.md": lambda _: command_line_page.page_of_commands(),
    "errors.md": lambda _: errors_page.page_of_errors(),
    "metrics.md": metrics_page.with_table,
    "tables.md": lambda _: tables_page.page_of_tables(),
    "roles-and-rights.md": lambda _: roles_page.page_of_roles(),
    "dialects.md": lambda _: dialects_page.page_of_dialects(),
    **{
        f"dialects/{dialect.name}.md": lambda _, dialect=dialect: dialects_page.page_of_dialect(dialect)  # type: ignore[misc]
        for dialect in DIALECTS.values()
    },
}
"""The function that generates each page from its current text. Only the metrics page keeps a part of that
text."""

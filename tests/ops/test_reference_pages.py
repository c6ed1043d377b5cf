"""The generated pages of docs/reference match the code and are complete."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

from services.api.app import create_app
from services.api.calls.export import SEND_SECONDS
from services.api.http.error_codes import ErrorCode
from services.ops.main import command_app
from services.ops.reference.metrics_page import END, metrics_table, with_table
from services.ops.reference.pages import FOLDER, PAGES
from services.ops.reference.roles_page import USES
from services.ops.reference.settings_page import SECTIONS, own_fields
from services.ops.reference.tables_page import DESCRIPTIONS, UNCOMMENTED, description
from shared.database.roles import ROLES
from shared.database.tables import metadata
from shared.http.server import STATUSES
from shared.settings.api import ApiSettings
from shared.settings.base import PREFIX
from shared.settings.misspelt import ALL_SETTINGS
from tests.support.repository import ROOT

FIELDS = [
    pytest.param(field, id=f"{section.settings.__name__}.{name}")
    for section in SECTIONS
    for name, field in own_fields(section.settings).items()
]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_generates(name: str) -> None:
    page = (ROOT / FOLDER / name).read_text()
    assert page == PAGES[name](page), (
        f"{FOLDER / name} is out of date: run `python -m services.ops.reference`."
    )


@pytest.mark.parametrize("field", FIELDS)
def test_a_setting_has_a_description(field: FieldInfo) -> None:
    assert field.description


def test_the_page_of_settings_has_every_setting() -> None:
    page = (ROOT / FOLDER / "settings.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(listed) == {f"{PREFIX}{name.upper()}" for of in ALL_SETTINGS for name in of.model_fields}


def options(name: str, command: Any) -> Iterator[tuple[str, set[str]]]:
    """The full name and the options of each subcommand, without those that its help hides."""
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    yield name, {option for parameter in shown for option in parameter.opts if option[0] == "-"}
    if isinstance(command, TyperGroup):
        for below, each in command.commands.items():
            yield from options(f"{name} {below}", each)


def test_the_page_of_commands_has_every_command_with_its_options() -> None:
    page = (ROOT / FOLDER / "cli.md").read_text()
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    (_, of_callfold), *commands = options("callfold", typer.main.get_command(command_app()))
    assert of_callfold <= set(re.findall(r"`(-[\w-]+)`", sections["Shared options"]))
    assert {name for name in sections if name.startswith("callfold ")} == {name for name, _ in commands}
    for name, its_options in commands:
        assert its_options <= set(re.findall(r"`(-[\w-]+)`", sections[name])), name


def test_the_page_of_commands_has_no_escaped_bar_and_no_doubled_bracket() -> None:
    page = (ROOT / FOLDER / "cli.md").read_text()
    assert re.findall(r".*(?:\\\||\[\[\w).*", page) == []


def test_the_page_of_the_api_shows_a_minimum_of_0() -> None:
    page = (ROOT / FOLDER / "api.md").read_text()
    assert "| `min_duration` | integer from 0 to 2,147,483,647 |" in page
    assert re.findall(r"^\| `\w+` \| (?:integer|number) to .*", page, re.MULTILINE) == []


def test_the_page_of_the_api_names_the_limits_of_an_export() -> None:
    page = (ROOT / FOLDER / "api.md").read_text().replace("\n", " ")
    seconds = ApiSettings.model_fields["api_client_seconds"].default
    assert f"reads nothing for {seconds} s (`CALLFOLD_API_CLIENT_SECONDS`)" in page
    assert f"takes over {SEND_SECONDS} s for one block" in page


def test_a_setting_whose_value_is_not_shown_is_secret_on_the_page() -> None:
    secret = {
        f"{PREFIX}{name.upper()}"
        for section in SECTIONS
        for name, field in own_fields(section.settings).items()
        if not field.repr or "SecretStr" in str(field.annotation)
    }
    page = (ROOT / FOLDER / "settings.md").read_text()
    assert {"CALLFOLD_DATABASE_URL", "CALLFOLD_JWT_SECRET"} <= secret
    assert set(re.findall(r"^\| `(\w+)` \| [^|]*, secret \|", page, re.MULTILINE)) == secret


def codes_of(part: Any) -> Iterator[str]:
    """The codes of the errors in a part of the OpenAPI document."""
    if isinstance(part, dict):
        if "error" in part and isinstance(code := part.get("code"), str):
            yield code
        for each in part.values():
            yield from codes_of(each)
    elif isinstance(part, list):
        for each in part:
            yield from codes_of(each)
    elif isinstance(part, str):
        yield from re.findall(r"`(?!CALLFOLD_)([A-Z]+_[A-Z_]+)`", part)


def test_the_errors_of_the_api_are_those_of_the_table() -> None:
    """Also the codes in the responses, examples and descriptions of the OpenAPI document."""
    document = create_app(ApiSettings(database_url="postgresql://nowhere")).openapi()
    codes = {code.name for code in ErrorCode}
    assert set(codes_of(document)) <= codes
    texts = [
        path.read_text()
        for package in ("api", "ops/admin")
        for path in (ROOT / "services" / package).rglob("*.py")
        if path.name != "error_codes.py"
    ]
    used = {code for text in texts for code in re.findall(r"\bErrorCode\.([A-Z_]+)", text)}
    assert used | STATUSES.keys() == codes
    assert {code: ErrorCode[code].status for code in STATUSES} == STATUSES
    # A code that is written as a literal would not be in the table.
    assert [text for text in texts if re.search(r"\"code\": \"", text)] == []


def test_the_page_of_metrics_must_have_the_marks_of_its_table() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        with_table("# Metrics\n")


def test_the_page_of_metrics_explains_every_label() -> None:
    _, end, explained = (ROOT / FOLDER / "metrics.md").read_text().partition(END)
    rows = re.findall(r"^\| `(\w+)` \| \w+ \|([^|]*)\|", metrics_table(), re.MULTILINE)
    labels = {(label, metric) for metric, names in rows for label in re.findall(r"`(\w+)`", names)}
    assert end
    assert labels == {
        (label, metric)
        for label, metrics in re.findall(r"^\| `(\w+)` \| (`callfold_[^|]*) \|", explained, re.MULTILINE)
        for metric in re.findall(r"`(\w+)`", metrics)
    }


def test_every_table_column_and_role_has_a_description_and_no_other() -> None:
    assert DESCRIPTIONS.keys() == metadata.tables.keys()
    assert set(USES) == set(ROLES)
    columns = [column for of in metadata.tables.values() for column in of.columns]
    assert all(description(column) for column in columns)
    uncommented = [column for column in columns if column.comment is None]
    assert set(UNCOMMENTED) <= {name for column in uncommented for name in (str(column), column.name)}


def test_the_page_of_tables_has_every_column() -> None:
    page = (ROOT / FOLDER / "tables.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    shared = sections.pop("Measures")
    assert sections.keys() == metadata.tables.keys()
    for name, section in sections.items():
        rows = section + (shared if "(#measures)" in section else "")
        listed = re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)
        assert sorted(listed) == sorted(metadata.tables[name].columns.keys()), name

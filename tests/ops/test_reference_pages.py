"""The generated pages of docs/reference are what the code says, and leave nothing out."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

from services.ops.main import app
from services.ops.reference.metrics_page import with_table
from services.ops.reference.pages import FOLDER, PAGES
from services.ops.reference.settings_page import SECTIONS, own_fields
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
    """Each command below this one by its whole name, with its options."""
    yield name, {option for parameter in command.params for option in parameter.opts if option[0] == "-"}
    if isinstance(command, TyperGroup):
        for below, each in command.commands.items():
            yield from options(f"{name} {below}", each)


def test_the_page_of_commands_has_every_command_with_its_options() -> None:
    page = (ROOT / FOLDER / "cli.md").read_text()
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    (_, of_callfold), *commands = options("callfold", typer.main.get_command(app))
    assert of_callfold <= set(re.findall(r"`(-[\w-]+)`", sections["Shared options"]))
    assert {name for name in sections if name.startswith("callfold ")} == {name for name, _ in commands}
    for name, its_options in commands:
        assert its_options <= set(re.findall(r"`(-[\w-]+)`", sections[name])), name


def test_the_page_of_metrics_must_have_the_marks_of_its_table() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        with_table("# Metrics\n")

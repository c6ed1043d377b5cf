"""The generated pages of docs/reference are what the code says, and leave nothing out."""

import re

import pytest
from pydantic.fields import FieldInfo

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


def test_the_page_of_metrics_must_have_the_marks_of_its_table() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        with_table("# Metrics\n")

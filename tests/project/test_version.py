"""pyproject.toml holds the version. Files that cannot read it must repeat the same one."""

import re
from importlib.metadata import version

from services.api.app import create_app
from shared.settings.api import ApiSettings
from tests.support.command_line import callfold
from tests.support.repository import ROOT

VERSION = version("callfold")


async def test_the_command_and_the_api_say_the_version() -> None:
    assert (await callfold("--version")).output == f"callfold {VERSION}\n"
    assert (
        create_app(ApiSettings(database_url="postgresql://nowhere")).openapi()["info"]["version"] == VERSION
    )


def test_the_image_and_the_manifests_carry_the_version() -> None:
    assert f"ARG VERSION={VERSION} " in (ROOT / "Dockerfile").read_text()
    assert f"newTag: {VERSION}\n" in (ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text()


def test_the_pages_that_an_operator_copies_from_carry_the_version() -> None:
    kubernetes = (ROOT / "docs" / "how-to" / "deploy-on-kubernetes.md").read_text()
    assert set(re.findall(r"(?:callfold:|newTag: )(\d+\.\d+\.\d+)", kubernetes)) == {VERSION}
    status = re.findall(r"^\| Status \|.*?(\d+\.\d+\.\d+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert status == [VERSION]


def test_the_changelog_has_the_version_and_its_upgrade_notes() -> None:
    releases = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[:2] == ["Unreleased", VERSION]
    assert [name for name in releases[1:] if not (ROOT / "docs" / "upgrading" / f"{name}.md").exists()] == []

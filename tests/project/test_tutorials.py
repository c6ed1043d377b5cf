"""The tutorials: every command runs as the reader types it, and prints what the page shows."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ops.embedded.state import free_ports
from tests.support.repository import ROOT
from tests.support.tutorial import follow

pytestmark = pytest.mark.long

TUTORIALS = ROOT / "docs" / "tutorials"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A folder with the commands of a clone. A stack that still runs there is stopped at the end."""
    for name in ("callfold", ".venv", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    yield tmp_path
    if (tmp_path / ".callfold").exists():
        subprocess.run(["./callfold", "down"], cwd=tmp_path, env=_environment(), timeout=60)


@pytest.mark.processes
async def test_your_first_call(clone: Path) -> None:
    api, postgres = free_ports(2)
    await follow(
        TUTORIALS / "first-call.md",
        clone,
        instead={"8000": str(api), "5433": str(postgres)},
        environment=_environment(),
    )


@pytest.mark.processes
async def test_one_event_of_the_readme(clone: Path) -> None:
    (api,) = free_ports(1)
    await follow(ROOT / "README.md", clone, instead={"8000": str(api)}, environment=_environment())


@pytest.mark.one_postgres("the tutorial shows what one PostgreSQL prints")
async def test_your_own_kafka_and_postgresql(clone: Path, bootstrap: str, database_url: str) -> None:
    (api,) = free_ports(1)
    await follow(
        TUTORIALS / "your-own-kafka-and-postgresql.md",
        clone,
        instead={
            "postgresql://postgres@127.0.0.1:5432/callfold": database_url,
            "127.0.0.1:9092": bootstrap,
            "call-events": f"tutorial-{uuid.uuid4().hex[:12]}",
            "8000": str(api),
        },
        environment=_environment(),
    )


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CALLFOLD_")}

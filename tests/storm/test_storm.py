"""The storms: a short one in the ordinary run, and those of `./check --storm`."""

import shutil
import tempfile
from pathlib import Path

import pytest

from services.ops.embedded.servers import Servers
from tests.storm.driver import storm
from tests.storm.faults import KINDS, TELLING
from tests.storm.schedule import brokers_of, plan
from tests.storm.stage import Grounds, grounds

CALLS = 50_000
FAULTS = 36
SECONDS = 75
SHORT_SEED, SHORT_CALLS, SHORT_SECONDS = 6, 1_000, 8


def test_a_seed_tells_the_schedule() -> None:
    planned = plan(7, KINDS, 40, 60)
    assert planned == plan(7, KINDS, 40, 60)
    assert planned != plan(8, KINDS, 40, 60)
    assert len(planned) == 40
    assert {one.kind for one in planned} == set(KINDS), "each kind happens at least once if the plan has room"
    assert list(planned) == sorted(planned, key=lambda one: one.at_seconds)
    for one in planned:
        kind = KINDS[one.kind]
        assert 0 <= one.at_seconds <= 60
        assert 0 <= one.target < kind.targets
        assert kind.lasts_seconds[0] <= one.lasts_seconds <= kind.lasts_seconds[1]
    assert all(sum(one.kind == name for one in planned) <= kind.most for name, kind in KINDS.items())


@pytest.mark.embedded_postgres
@pytest.mark.long
async def test_a_short_storm(running: Servers, database_url: str, tmp_path: Path) -> None:
    """One of each of the most revealing faults, in a fixed order, on the servers that all tests share."""
    planned = plan(SHORT_SEED, TELLING, len(TELLING), SHORT_SECONDS)
    shared = Grounds(running.postgres, [running.kafka], running.bootstrap, database_url)
    done = await storm(SHORT_SEED, planned, shared, calls=SHORT_CALLS, seconds=SHORT_SECONDS, logs=tmp_path)
    print(done)
    assert done.faults.total() == len(TELLING)
    assert done.checked["verify"] > 0
    assert done.checked["details"] > 0
    assert done.checked["events of streams, each once"] > 0
    assert done.checked["messages, each verified"] > 0


@pytest.mark.storm
async def test_a_storm(storm_seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """All kinds of faults, on separate servers. The logs of a failed storm are kept."""
    planned = plan(storm_seed, KINDS, FAULTS, SECONDS)
    directory = Path(tempfile.mkdtemp(prefix=f"callfold-storm-{storm_seed}-"))
    directory.chmod(0o755)
    async with grounds(directory, brokers_of(storm_seed)) as own:
        done = await storm(storm_seed, planned, own, calls=CALLS, seconds=SECONDS, logs=directory)
    with capsys.disabled():
        print(f"\n{done}")
    shutil.rmtree(directory)

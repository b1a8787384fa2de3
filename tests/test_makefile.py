"""Which Python `make install` takes; the programs on the PATH here are real, or do not run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
THIS = f'exec {sys.executable} "$@"'
"""What a Python that suits runs: the one that runs the tests."""
BROKEN = "exit 127"
"""A name without a Python behind it, as pyenv leaves on the PATH."""
ANOTHER = "exit 1"
"""A Python of a version that does not suit: it says so by this code."""


def made(folder: Path, target: str, *variables: str, **programs: str) -> tuple[int, str]:
    """Run make on a copy of the Makefile, with these programs on the PATH and no other Python."""
    for name in ("Makefile", "pyproject.toml", "constraints-cpu.txt"):
        shutil.copy(ROOT / name, folder)
    path = folder / "bin"
    path.mkdir()
    for name in ("bash", "sh", "make", "grep", "sort", "sed", "expand", "rm", "touch"):
        found = shutil.which(name)
        assert found, name
        (path / name).symlink_to(found)
    for name, body in programs.items():
        program = path / name.replace("_", ".")
        program.write_text(f"#!{path}/sh\n{body}\n")
        program.chmod(0o755)
    ran = subprocess.run(
        ["make", target, "EXTRA=cpu", *variables],
        cwd=folder,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("here", "taken"),
    [
        ({"python3_11": THIS, "python3_12": THIS}, "python3.11"),
        ({"python3_12": THIS, "python3": THIS}, "python3.12"),
        ({"python3_13": THIS}, "python3.13"),
        ({"python3": THIS}, "python3"),
        ({"python3_11": BROKEN, "python3_12": BROKEN, "python3_13": THIS}, "python3.13"),
        ({"python3_11": BROKEN, "python3": ANOTHER}, ""),
    ],
)
def test_the_first_python_that_runs_and_suits_is_taken(tmp_path, here, taken):
    code, said = made(tmp_path, "help", **here)
    assert code == 0
    assert f"PYTHON={taken}  EXTRA=cpu" in said


def test_one_that_is_named_is_taken_before_what_is_found(tmp_path):
    _, said = made(tmp_path, "help", f"PYTHON={sys.executable}", python3_12=THIS)
    assert f"PYTHON={sys.executable}  EXTRA=cpu" in said


def test_without_a_python_one_line_says_what_to_do(tmp_path):
    code, said = made(tmp_path, "install", python3=ANOTHER)
    assert code == 2
    assert "error: no Python of the versions 3.11 3.12 3.13 is here; install one, or uv" in said
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_is_named_and_does_not_suit_is_refused(tmp_path):
    code, said = made(tmp_path, "install", "PYTHON=python3", python3=ANOTHER, python3_12=THIS)
    assert code == 2
    assert "error: python3 is no Python of the versions 3.11 3.12 3.13" in said
    assert not (tmp_path / ".venv").exists()


def test_where_none_is_uv_is_asked_for_one(tmp_path):
    asked = tmp_path / "asked"
    uv = f'echo "$@" >> {asked}; [ "$2" = install ] || echo {tmp_path}/fetched'
    code, said = made(tmp_path, "install", python3=ANOTHER, uv=uv)
    assert asked.read_text().splitlines() == ["python install 3.11", "python find 3.11"]
    assert code == 2
    assert f"error: {tmp_path}/fetched is no Python of the versions" in said  # nothing is there


def test_a_uv_that_cannot_fetch_one_is_no_silent_end(tmp_path):
    code, said = made(tmp_path, "install", uv="echo no way to the internet >&2; exit 2")
    assert code == 2
    assert "no way to the internet" in said
    assert "error: no Python of the versions" in said

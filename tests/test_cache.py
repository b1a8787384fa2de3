"""The cache: what is made once is made once, whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from taiyi_ray import cache
from taiyi_ray.errors import StorageError

ONE_OF_MANY = """
import sys, time
from pathlib import Path
from taiyi_ray import cache
target, log = Path(sys.argv[1]), Path(sys.argv[2])

def fetch(folder):
    with log.open("a") as file:
        file.write("fetched\\n")
    time.sleep(0.5)
    (folder / "weights").write_text("all of them")

assert (cache.made_once(target, fetch) / "weights").read_text() == "all of them"
"""


def test_the_engines_of_a_machine_fetch_a_model_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ONE_OF_MANY, str(tmp_path / "made"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "fetched\n"


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set TAIYI_RAY_CACHE to another folder"):
        cache.made_once(cache.folder() / "it", lambda _: None)

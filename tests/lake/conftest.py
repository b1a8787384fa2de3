"""What the tests of the lake are given: an output, and a lake of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.lake.update import update
from tests.lake.lakes import FIRST, Out


@pytest.fixture
def out(tmp_path: Path) -> Out:
    made = Out(str(tmp_path / "out"))
    made.add("pubmed26n0001.xml.gz", FIRST, "20260101T000001-aaaaaa")
    return made


@pytest.fixture
def lake(out: Out, tmp_path: Path) -> str:
    address = str(tmp_path / "lake")
    update(address, [out.address])
    return address

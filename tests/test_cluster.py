"""A Ray that does not start is one line, and no process of it is left."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import ray

from taiyi_ray.cluster import Workers, connected
from taiyi_ray.errors import ConfigError, Unfinished
from taiyi_ray.placement import Resources

pytestmark = pytest.mark.alone

ONE = Workers(Resources(1, 0), 1, "a worker")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a cluster in this process, with the authentication of the tests' cluster.

    A process keeps the first one for all that it joins later, even where Ray does not start.
    """
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def test_a_place_where_ray_cannot_write_is_named(
    tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file" / "folder"))
    before = psutil.Process().children(recursive=True)
    with pytest.raises(ConfigError, match=r"Ray cannot start .*RAY_TMPDIR"), connected(ONE):
        pass
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def test_a_ray_that_is_late_can_be_started_again(
    alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(Unfinished, match=r"did not start .*timed out"), connected(ONE):
        pass

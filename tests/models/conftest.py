"""What the tests of models share: the embedded one, and a cache of a test's own."""

from pathlib import Path

import pytest

from taiyi_ray import models


@pytest.fixture(scope="session")
def embedded() -> models.Model:
    """The embedded model in the user's own cache, made there if it is not yet."""
    return models.resolve()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"

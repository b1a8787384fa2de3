"""Sources are scanned on the cluster as they are in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray import cluster
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.errors import StorageError
from taiyi_ray.job import execution
from tests.corpus.test_plan import files, lines


def test_many_sources_are_scanned_in_order_and_one_that_is_gone_is_named(
    tmp_path: Path, joined: None
) -> None:
    many = execution._SCANS_IN_FLIGHT + 6
    sources = files(*(lines(tmp_path, f"{n:03}.jsonl", 1 + n % 5) for n in range(many)))
    config = AnnotateConfig(inputs=["in"], output=str(tmp_path / "out"), engine="fake")
    with cluster.connected(cluster.engines(config)):
        found = list(execution.scan((source, 0, None) for source in sources))
        assert found == [source.record_sizes(0, None) for source in sources]
        assert len({len(one.sizes) for one in found}) == 5
        (tmp_path / "066.jsonl").unlink()
        with pytest.raises(StorageError, match=r"066\.jsonl"):
            list(execution.scan((source, 0, None) for source in sources))

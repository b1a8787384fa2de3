"""`lake check` finds what is wrong."""

from __future__ import annotations

from pathlib import Path

from taiyi_ray.lake.check import check
from tests.lake.lakes import paths


def test_check_says_what_is_wrong(lake):
    import pyarrow.parquet as pq

    assert not list(check(lake))
    path = Path(lake, "mentions", paths(lake, "mentions")["p000004"])
    table = pq.read_table(path)
    pq.write_table(table.set_column(6, "text", [["Wrong"] * len(table)]), path)
    assert list(check(lake)) == ["range p000004: 2 mentions are not in the text at their offsets"]

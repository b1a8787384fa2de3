"""`lake check` finds what is wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taiyi_ray.lake import commits
from taiyi_ray.lake.check import check
from taiyi_ray.lake.update import update
from tests.lake.lakes import Record, paths


def rewritten(lake: str, table: str, range_: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a data file anew, and have the commit say so, as if an update had made it."""
    path = Path(lake, table, paths(lake, table)[range_])
    rows = change(pq.read_table(path))
    pq.write_table(rows, path)
    commit = commits.opened(lake)
    file = commit.files[table][path.name]
    whole = file.model_copy(update={"size": path.stat().st_size, "rows": len(rows)})
    files = commit.files | {table: commit.files[table] | {path.name: whole}}
    put = commit.model_copy(update={"files": files}).model_dump_json()
    Path(lake, "_lake", f"{commit.number:09d}.json").write_text(put)


def test_check_says_what_is_wrong(lake):
    assert not list(check(lake))
    rewritten(
        lake, "mentions", "p000004",
        lambda rows: rows.set_column(6, "text", [["Wrong"] * len(rows)]),
    )  # fmt: skip
    assert list(check(lake)) == ["range p000004: 2 mentions are not in the text at their offsets"]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("mentions", "source, position, id"),
        ("passages", "source, position, number"),
        ("revisions", "source, position, key, fingerprint, content_hash"),
    ],
)
def test_rows_that_are_there_twice_are_found(lake, table, key):
    rewritten(lake, table, "p000004", lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]))
    assert f"range p000004: 1 keys ({key}) of {table} are there more than once" in list(check(lake))


def test_entries_in_a_range_without_a_ledger_are_found(lake):
    commit = commits.opened(lake)
    left = {path: f for path, f in commit.files["revisions"].items() if f.range != "p000004"}
    files = commit.files | {"revisions": left}
    Path(lake, "_lake", f"{1:09d}.json").write_text(
        commit.model_copy(update={"files": files}).model_dump_json()
    )
    shutil.rmtree(Path(lake, "revisions", "_delta_log"))
    assert "range p000004: 1 documents are not what the ledger says" in list(check(lake))


def test_a_data_file_that_is_gone_cut_or_another_is_named(lake):
    def of(table: str, range_: str) -> Path:
        return Path(lake, table, paths(lake, table)[range_])

    gone, cut, other = of("documents", "p000000"), of("units", "all"), of("labels", "p000004")
    gone.unlink()
    os.truncate(cut, 100)
    pq.write_table(pq.read_table(other).slice(0, 0), other)
    commit = Path(lake, "_lake", f"{1:09d}.json")
    whole = json.loads(commit.read_text())
    whole["files"]["labels"][other.name]["size"] = other.stat().st_size
    commit.write_text(json.dumps(whole, separators=(",", ":")))
    lines = list(check(lake))
    assert f"{gone}: is gone" in lines
    assert any(line.startswith(f"{cut}: has 100 bytes, and ") for line in lines)
    assert f"{other}: has 0 rows, and 1 when it was committed" in lines
    assert len(lines) == 3


def test_damage_inside_a_data_file_is_one_line(lake):
    path = Path(lake, "mentions", paths(lake, "mentions")["p000004"])
    data = bytearray(path.read_bytes())
    data[4:1500] = b"\xff" * 1496
    path.write_bytes(data)
    (line,) = check(lake)
    assert line.startswith("range p000004: cannot be read (")


def test_a_log_that_is_missing_or_late_is_named_and_update_heals_it(out, lake):
    out.add("pubmed26n0002.xml.gz", [Record("9", "Nine")], "2")
    update(lake, [out.address])
    Path(lake, "documents", "_delta_log", f"{2:020d}.json").unlink()
    shutil.rmtree(Path(lake, "labels", "_delta_log"))
    assert [line.split(";")[0] for line in check(lake)] == [
        f"{lake}/documents: its Delta log is at version 1, and the newest commit is 2",
        f"{lake}/labels: its Delta log is missing, and the newest commit is 2",
    ]
    assert update(lake, [out.address]).units == 0
    assert not list(check(lake))

"""The commands `taiyi-ray lake ...`: what they print and write, and one line where they refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from taiyi_ray.cli import main
from taiyi_ray.lake.update import update
from tests.lake.lakes import Out, Record


def test_what_is_no_output_or_no_lake_is_one_line(out, tmp_path, capsys, monkeypatch):
    def line(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["taiyi-ray", "lake", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2, capsys.readouterr()
        (text,) = capsys.readouterr().err.splitlines()
        return text

    nothing, lake = str(tmp_path / "nothing"), str(tmp_path / "lake")
    assert "no output of `taiyi-ray annotate` is there" in line("update", nothing, "--table", lake)
    assert not Path(lake).exists()
    assert "is no lake" in line("query", nothing, "SELECT 1")
    assert "lies in the output" in line(
        "update", out.address, "--table", f"{out.address}/annotations/x"
    )
    assert "expected the two digits" in line(
        "update", out.address, "--table", lake, "--baseline", "2026"
    )
    assert "no file pubmed25n<digits> was taken" in line(
        "update", out.address, "--table", lake, "--baseline", "25"
    )
    percent = str(tmp_path / "a%20b")
    assert "a table cannot have %20 in its name" in line("update", out.address, "--table", percent)
    assert not Path(lake).exists() and not Path(percent).exists()
    update(lake, [out.address])
    assert "Parser Error" in line("query", lake, "SELECT FROM WHERE")
    assert "not: nothing" in line("query", lake, "")
    interval = ("query", lake, "SELECT INTERVAL 1 DAY AS i", "-o", str(tmp_path / "i.parquet"))
    assert "cannot hold a column of the answer" in line(*interval)
    assert not Path(tmp_path, "i.parquet").exists()
    assert "is neither the number" in line(
        "query", lake, "SELECT 1", "--at", "9999-12-31T23:59:59-05:00"
    )
    assert "is no lake" in line("sql", nothing)
    assert "needs --output" in line("query", lake, "SELECT 1", "--format", "parquet")
    assert "never had a document" in line("show", lake, "4711")
    path = Path(lake, "_lake", f"{1:09d}.json")
    path.write_text(path.read_text().replace('"format":2', '"format":9'))
    assert "another version of taiyi-ray made its tables" in line(
        "update", out.address, "--table", lake
    )


def test_status_names_the_command_that_shows_a_lake(out, lake, capsys, monkeypatch):
    update(lake, [out.address])
    monkeypatch.setattr(sys, "argv", ["taiyi-ray", "status", lake])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{lake}: is a lake; `taiyi-ray lake show {lake}` shows" in capsys.readouterr().err


def test_commands_print_tables_and_write_files(out, lake, tmp_path, capsys, monkeypatch):
    import pyarrow.parquet as pq

    def shown(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["taiyi-ray", "lake", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        return capsys.readouterr().out

    assert "commit 2: 4 documents; 1 unit taken (1 insert)" in _added(out, lake, shown)
    assert "nothing new; commit 2" in shown("update", out.address, "--table", lake)
    assert "documents" in shown("show", lake) and "20260101T000001" in shown("show", lake)
    assert "newest" in shown("show", lake, "7")
    asked = "SELECT pmid, metadata FROM documents ORDER BY pmid LIMIT 1"
    assert shown("query", lake, asked, "--format", "csv") == "pmid,metadata\n7,{}\n"
    shown("query", lake, asked, "--format", "parquet", "-o", str(tmp_path / "a.parquet"))
    assert pq.read_table(tmp_path / "a.parquet")["pmid"].to_pylist() == [7]
    shown("query", lake, asked, "-o", str(tmp_path / "b.parquet"))
    assert pq.read_table(tmp_path / "b.parquet")["pmid"].to_pylist() == [7]
    shown("query", lake, asked, "-o", str(tmp_path / "b.csv"))
    assert (tmp_path / "b.csv").read_text() == "pmid,metadata\n7,{}\n"
    shown("query", lake, asked, "--format", "csv", "-o", str(tmp_path / "a.csv"))
    assert (tmp_path / "a.csv").read_text() == "pmid,metadata\n7,{}\n"
    assert "insert" in shown("changes", lake, "--since", "1")
    assert "insert" in shown("changes", lake, "--since", "2020-01-01", "--format", "csv")
    assert shown("check", lake) == "all is right\n"
    assert "0 files would be removed" in shown("vacuum", lake, "--dry-run")
    assert "commit 2" in shown("rebuild", lake)
    assert "delta_scan" in shown("sql", lake)


def _added(out: Out, lake: str, shown) -> str:
    out.add("pubmed26n0002.xml.gz", [Record("9", "Nine")], "2")
    return shown("update", out.address, "--table", lake)

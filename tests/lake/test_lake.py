"""A lake as its users meet it: commands, time travel, other readers, S3, faults and real files."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from taiyi_ray import storage
from taiyi_ray.cli import main
from taiyi_ray.errors import ConfigError
from taiyi_ray.lake import ask, commits, delta
from taiyi_ray.lake.check import check
from taiyi_ray.lake.dialects import DIALECTS, statements
from taiyi_ray.lake.tables import TABLES
from taiyi_ray.lake.update import Settings, update
from taiyi_ray.lake.upkeep import rebuild, vacuum
from tests.lake.lakes import Naive, Out, Record, compare, read

FIRST = [
    Record("7", "Metformin helps"),
    Record("300000", "Insulin and Stroke"),
    Record("12", "mice"),
]


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


def asked(lake: str, sql: str, at: str | None = None) -> list[tuple[object, ...]]:
    with ask.query(lake, sql, at) as found:
        return [tuple(row.values()) for row in found.read_all().to_pylist()]


def paths(lake: str, table: str) -> dict[str, str]:
    return commits.opened(lake).by_range(table)


def test_a_revision_of_metadata_alone_writes_only_documents_anew(out, lake):
    before = {table: paths(lake, table) for table in TABLES}
    out.add("pubmed26n0002.xml.gz", [Record("7", "Metformin helps", journal="New")], "2")
    done = update(lake, [out.address])
    assert done.counts == {"metadata": 1}
    after = {table: paths(lake, table) for table in TABLES}
    assert {table for table in TABLES if before[table] != after[table]} == {
        "documents", "revisions", "changes", "runs", "units",
    }  # fmt: skip
    # The range of PMID 300000 had no new record: its files are the same.
    assert before["documents"]["p000004"] == after["documents"]["p000004"]
    assert asked(lake, "SELECT metadata['journal'], source FROM documents WHERE pmid = 7") == [
        ("New", "pubmed26n0001.xml.gz-01234567")
    ]


def test_deleting_version_2_brings_version_1_back_with_its_annotations(out, lake):
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps", 2)], "2")
    update(lake, [out.address])
    assert asked(lake, "SELECT text FROM mentions WHERE pmid = 7") == [("Aspirin",)]
    out.add("pubmed26n0003.xml.gz", [Record("7", version=2, status="deleted")], "3")
    update(lake, [out.address])
    assert asked(lake, "SELECT text FROM mentions WHERE pmid = 7") == [("Metformin",)]
    assert asked(lake, "SELECT version, title FROM documents WHERE pmid = 7") == [
        (1, "Metformin helps")
    ]


def test_the_file_number_decides_and_not_the_order_in_which_outputs_come(tmp_path):
    out, lake = Out(str(tmp_path / "out")), str(tmp_path / "lake")
    out.add("pubmed26n0010.xml.gz", [Record("7", "ten")])
    update(lake, [out.address])
    out.add("pubmed26n0009.xml.gz", [Record("7", "nine")])
    out.add("zzz.xml", [Record("7", "a name without a number")])
    done = update(lake, [out.address])
    assert asked(lake, "SELECT title FROM documents") == [("ten",)]
    assert "1 PubMed files are not named pubmedYYn<digits>" in done.summary()
    assert not done.counts


def test_a_failed_annotation_of_the_same_text_does_not_displace_a_good_one(out, lake):
    again = Record("7", "Metformin helps", journal="New", status="failed")
    out.add("pubmed26n0002.xml.gz", [again], "2")
    update(lake, [out.address])
    assert asked(lake, "SELECT status, metadata['journal'] FROM documents WHERE pmid = 7") == [
        ("ok", "New")
    ]
    assert asked(lake, "SELECT text FROM mentions WHERE pmid = 7") == [("Metformin",)]


def test_rows_that_retry_failed_replaced_are_taken_again(out, lake):
    name = "pubmed26n0002.xml.gz"
    out.add(name, [Record("8", "Stroke", status="failed")], "20260101T000002-aaaaaa")
    update(lake, [out.address])
    assert asked(lake, "SELECT kind, document_id FROM failures") == [("engine_error", "8")]
    out.replace(name, [Record("8", "Stroke")], "20260101T000003-aaaaaa")
    assert update(lake, [out.address]).counts == {"annotation": 1}
    assert asked(lake, "SELECT count(*) FROM failures") == [(0,)]
    assert asked(lake, "SELECT text FROM mentions WHERE pmid = 8") == [("Stroke",)]


def test_other_formats_are_keyed_by_record_or_by_their_own_id(tmp_path):
    out = Out(str(tmp_path / "out"))
    first = [Record("a", "One"), Record("a", "Two"), Record(None, status="failed", version=None)]
    out.add("x.jsonl", first, format_="jsonl")
    update(str(tmp_path / "by-record"), [out.address])
    update(str(tmp_path / "by-id"), [out.address], Settings(key="document_id"))
    assert asked(str(tmp_path / "by-record"), "SELECT title, pmid FROM documents ORDER BY 1") == [
        ("One", None), ("Two", None),
    ]  # fmt: skip
    assert asked(str(tmp_path / "by-id"), "SELECT title FROM documents") == [("Two",)]
    assert not list(check(str(tmp_path / "by-record")))
    assert not list(check(str(tmp_path / "by-id")))
    with pytest.raises(ConfigError, match="was made with --key record"):
        update(str(tmp_path / "by-record"), [out.address], Settings(key="document_id"))


def test_answers_are_kept_when_they_are_wanted(out, tmp_path):
    lake = str(tmp_path / "answers")
    update(lake, [out.address], Settings(answers=True))
    assert asked(lake, "SELECT DISTINCT raw FROM answers") == [("x",)]
    with pytest.raises(ConfigError, match="--answers: the lake was made without"):
        update(lake + "2", [out.address])
        update(lake + "2", [out.address], Settings(answers=True))


# ------------------------------------------------------------------------------------- baselines


def test_a_baseline_removes_what_vanished_and_says_so(tmp_path, out, lake):
    year = Out(str(tmp_path / "27"))
    year.add("pubmed27n0001.xml.gz", [Record("7", "Metformin helps"), Record("8", "New")], "5")
    year.add("pubmed27n0003.xml.gz", [Record("12", "mice")], "6")
    with pytest.raises(ConfigError, match=r"1 files are missing below number 3.*pubmed27n0002"):
        update(lake, [year.address], Settings(baseline=27))
    assert commits.opened(lake).number == 1
    year.add("pubmed27n0002.xml.gz", [Record("9", "More")], commit=False)
    with pytest.raises(ConfigError, match=r"pubmed27n0002|is not finished"):
        update(lake, [year.address], Settings(baseline=27))
    year.write("pubmed27n0002.xml.gz", [Record("9", "More")], "7")
    mentions = paths(lake, "mentions")
    done = update(lake, [year.address], Settings(baseline=27))
    assert done.counts == {"insert": 2, "delete": 1}
    assert asked(lake, "SELECT pmid FROM documents ORDER BY 1") == [(7,), (8,), (9,), (12,)]
    assert asked(lake, "SELECT pmid, cause FROM changes WHERE change = 'delete'") == [
        (300000, "baseline")
    ]
    assert "p000004" not in paths(lake, "mentions") and "p000004" in mentions
    assert asked(lake, "SELECT count(*) FROM mentions WHERE pmid = 7") == [(1,)]
    assert not list(check(lake))


# ----------------------------------------------------------------------------------- time travel


def test_a_lake_can_be_asked_as_it_was(out, lake):
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps"), Record("9", "Nine")], "2")
    update(lake, [out.address])
    count = "SELECT count(*) FROM documents"
    assert asked(lake, count) == [(4,)]
    assert asked(lake, count, "1") == [(3,)]
    assert asked(lake, count, "0") == [(0,)]
    assert asked(lake, count, commits.read(lake, 1).committed_at) == [(3,)]
    assert asked(lake, count, "2999-01-01") == [(4,)]
    with pytest.raises(ConfigError, match="the lake is younger"):
        asked(lake, count, "2020-01-01")
    with pytest.raises(ConfigError, match="neither the number of a commit nor a date"):
        asked(lake, count, "Monday")
    with pytest.raises(ConfigError, match="has no commit 99"):
        asked(lake, count, "99")
    # Delta's own versions are the same numbers.
    assert len(DeltaTable(f"{lake}/documents", version=1).to_pyarrow_table()) == 3
    sql, values = ask.changed(lake, "1")
    with ask.query(lake, sql, values=values) as found:
        assert [(r["change"], r["pmid"]) for r in found.read_all().to_pylist()] == [
            ("text", 7), ("insert", 9),
        ]  # fmt: skip


def test_vacuum_removes_what_no_recent_commit_needs(out, lake):
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps")], "2")
    update(lake, [out.address])
    orphan = f"{lake}/mentions/p000000-20200101T000000-01234567.parquet"
    at_work = orphan.replace("2020", "2999")
    for path in (orphan, at_work):
        Path(path).write_bytes(b"of a run that died, or is at work")
    assert {stored.path for stored in vacuum(lake, 30)} == {orphan}
    removed = vacuum(lake, 0, dry_run=True)
    assert removed and all(Path(stored.path).exists() for stored in removed)
    time.sleep(0.01)
    assert vacuum(lake, 0) == removed
    assert Path(at_work).exists()
    assert not list(check(lake))
    assert asked(lake, "SELECT count(*) FROM mentions") == [(3,)]
    with pytest.raises(ConfigError, match="files of commit 1 cannot be read"):
        asked(lake, "SELECT title FROM documents", "1")
    assert vacuum(lake, 0) == []


# ------------------------------------------------------------------------------------ other readers


def test_delta_duckdb_polars_pandas_and_pyarrow_read_the_same_rows(lake):
    import duckdb
    import polars as pl
    import pyarrow.parquet as pq

    wanted = sorted((row["pmid"], row["text"]) for row in read(lake, "mentions"))
    assert wanted == [(7, "Metformin"), (300000, "Insulin"), (300000, "Stroke")]
    table = DeltaTable(f"{lake}/mentions")
    assert _pairs(table.to_pyarrow_table().to_pylist()) == wanted
    assert _pairs(table.to_pandas().to_dict("records")) == wanted
    assert _pairs(pl.read_delta(f"{lake}/mentions").to_dicts()) == wanted
    files = sorted(str(path) for path in Path(lake, "mentions").glob("*.parquet"))
    assert _pairs(row for path in files for row in pq.read_table(path).to_pylist()) == wanted
    with duckdb.connect() as connection:
        found = connection.execute("SELECT pmid, text FROM read_parquet(?)", [files]).fetchall()
    assert sorted(found) == wanted
    documents = DeltaTable(f"{lake}/documents")
    fields = {field.name: field for field in documents.schema().fields}
    assert fields["title"].metadata["comment"].startswith("Title as in the passages")
    assert all(field.metadata["comment"] for field in fields.values())
    assert documents.metadata().description == "One row a document: its newest version."
    # Delta's statistics let other readers pass over files.
    bounds = DeltaTable(f"{lake}/mentions").to_pyarrow_dataset()
    assert len(list(bounds.get_fragments(filter=_pmid(300000)))) == 1


def _pmid(pmid: int):
    import pyarrow.compute as pc

    return pc.field("pmid") == pmid


def _pairs(rows):
    return sorted((row["pmid"], row["text"]) for row in rows)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_statements_of_a_dialect_name_every_table_at_its_address(lake, dialect):
    text = statements(lake, dialect)
    for table in TABLES:
        assert f"{lake}/{table}" in text
    with pytest.raises(ConfigError, match="did you mean 'spark'"):
        statements(lake, "sparc")


# --------------------------------------------------------------------------------------- bad input


def test_an_output_of_another_fingerprint_needs_mixed(out, lake, tmp_path):
    other = Out(str(tmp_path / "other"), fingerprint="e" * 16)
    other.add("pubmed26n0002.xml.gz", [Record("7", "Metformin helps")], "2")
    with pytest.raises(ConfigError, match=r"other rows have ffff.*--mixed"):
        update(lake, [other.address])
    with pytest.raises(ConfigError, match="--mixed"):
        update(str(tmp_path / "new"), [out.address, other.address])
    assert not Path(tmp_path / "new").exists()
    update(lake, [other.address], Settings(mixed=True))
    assert asked(lake, "SELECT pmid FROM documents WHERE fingerprint = repeat('e', 16)") == [(7,)]
    assert not list(check(lake))
    assert update(lake, [out.address, other.address]).units == 0  # both are known by now


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
    update(lake, [out.address])
    assert "Parser Error" in line("query", lake, "SELECT FROM WHERE")
    assert "gives no rows" in line("query", lake, "")
    assert "needs --output" in line("query", lake, "SELECT 1", "--format", "parquet")
    assert "never had a document" in line("show", lake, "4711")
    path = Path(lake, "_lake", f"{1:09d}.json")
    path.write_text(path.read_text().replace('"format":1', '"format":2'))
    assert "a newer program made its tables" in line("update", out.address, "--table", lake)


def test_what_another_program_wrote_is_found_out_and_undone_by_rebuild(out, lake):
    write_deltalake(
        f"{lake}/labels", DeltaTable(f"{lake}/labels").to_pyarrow_table(), mode="append"
    )
    out.add("pubmed26n0002.xml.gz", [Record("9", "Nine")], "2")
    with pytest.raises(ConfigError, match=r"labels: another program wrote version 2.*rebuild"):
        update(lake, [out.address])
    assert commits.opened(lake).number == 1
    assert rebuild(lake) == 1
    update(lake, [out.address])
    assert len(DeltaTable(f"{lake}/labels").to_pyarrow_table()) == 4
    DeltaTable(f"{lake}/mentions").optimize.compact()
    with pytest.raises(ConfigError, match="OPTIMIZE"):
        list(check(lake))
    Path(lake, "mentions", paths(lake, "mentions")["p000000"]).unlink()
    with pytest.raises(ConfigError, match="is gone or changed; make a new lake"):
        rebuild(lake)


def test_check_says_what_is_wrong(lake):
    import pyarrow.parquet as pq

    assert not list(check(lake))
    path = Path(lake, "mentions", paths(lake, "mentions")["p000004"])
    table = pq.read_table(path)
    pq.write_table(table.set_column(6, "text", [["Wrong"] * len(table)]), path)
    assert list(check(lake)) == ["range p000004: 2 mentions are not in the text at their offsets"]


def test_a_version_that_counts_again_is_read_from_its_output_or_refused(out, lake, tmp_path):
    later = Out(str(tmp_path / "later"))
    later.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps", 2)], "2")
    update(lake, [later.address])
    later.add("pubmed26n0003.xml.gz", [Record("7", version=2, status="deleted")], "3")
    away = Path(out.address).rename(tmp_path / "away")
    with pytest.raises(
        storage.StorageError, match="counts again, and its annotations must be read"
    ):
        update(lake, [later.address])
    assert commits.opened(lake).number == 2
    away.rename(out.address)
    update(lake, [later.address])
    assert asked(lake, "SELECT title FROM documents WHERE pmid = 7") == [("Metformin helps",)]


# -------------------------------------------------------------------------------- the command line


def test_commands_print_tables_and_write_files(out, lake, tmp_path, capsys, monkeypatch):
    import pyarrow.parquet as pq

    def shown(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["taiyi-ray", "lake", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        return capsys.readouterr().out

    assert "commit 2: 4 documents; 1 units taken (1 insert)" in _added(out, lake, shown)
    assert "nothing new; commit 2" in shown("update", out.address, "--table", lake)
    assert "documents" in shown("show", lake) and "20260101T000001" in shown("show", lake)
    assert "newest" in shown("show", lake, "7")
    asked = "SELECT pmid, metadata FROM documents ORDER BY pmid LIMIT 1"
    assert shown("query", lake, asked, "--format", "csv") == "pmid,metadata\n7,{}\n"
    shown("query", lake, asked, "--format", "parquet", "-o", str(tmp_path / "a.parquet"))
    assert pq.read_table(tmp_path / "a.parquet")["pmid"].to_pylist() == [7]
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


# ------------------------------------------------------------------------------------- S3 and kills


def test_a_lake_in_a_bucket_is_what_it_is_on_a_disk(bucket):
    out, lake = Out(f"{bucket}/out"), f"{bucket}/lake"
    naive = Naive()
    out.add("pubmed26n0001.xml.gz", FIRST, "1")
    update(lake, [out.address], Settings(answers=True))
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin"), Record("12", status="deleted")], "2")
    update(lake, [out.address])
    naive.take(out.rows())
    compare(lake, naive)
    assert not list(check(lake))
    assert asked(lake, "SELECT count(*) FROM mentions WHERE text = 'Stroke'") == [(1,)]
    table = DeltaTable(f"{lake}/mentions", storage_options=delta.options(lake))
    assert len(table.to_pyarrow_table()) == 3
    assert vacuum(lake, 0)
    assert asked(lake, "SELECT count(*) FROM documents") == [(2,)]


_WRITER = """
import sys
from taiyi_ray.lake.update import Settings, update
lake, *outputs = sys.argv[1:]
update(lake, outputs, Settings(pmids=1000))
"""


def _writer(lake: str, *outputs: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITER, lake, *outputs])


def test_two_writers_at_once_leave_what_one_would(tmp_path):
    lake, naive = str(tmp_path / "lake"), Naive()
    outs = [Out(str(tmp_path / f"out-{n}")) for n in range(2)]
    for n, out in enumerate(outs):
        records = [Record(str(pmid), f"Text {n}") for pmid in range(1 + n, 3000, 300)]
        out.add(f"pubmed26n{n + 1:04d}.xml.gz", records, "1")
        naive.take(out.rows())
    writers = [_writer(lake, outs[n].address, outs[1 - n].address) for n in range(2)]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    compare(lake, naive)
    assert not list(check(lake))
    (number,) = {DeltaTable(f"{lake}/{table}").version() for table in TABLES}
    assert number == commits.opened(lake).number


def _killed(lake: str, out: Out, seed: int, kills: int) -> None:
    """Update a lake while it is killed at random moments; compare it after each file."""
    draw, naive, done = random.Random(seed), Naive(), 0
    number = 0
    while done < kills:
        number += 1
        records = [
            Record(str(draw.randint(1, 3000)), f"Text {draw.randint(0, 9)}") for _ in range(9)
        ]
        out.add(f"pubmed26n{number:04d}.xml.gz", records, f"{number}")
        naive.take(out.rows())
        while True:
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-c", _READY + _WRITER, lake, out.address], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            process.stdout.readline()  # all is imported
            try:
                process.wait(draw.uniform(0, 1.5) if draw.random() < 0.8 else 300)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                done += 1
                continue
            finally:
                process.stdout.close()
            assert process.returncode == 0, time.monotonic() - began
            break
        compare(lake, naive)
    assert not list(check(lake))
    (version,) = {
        DeltaTable(f"{lake}/{t}", storage_options=delta.options(lake)).version() for t in TABLES
    }
    assert version == commits.opened(lake).number


_READY = """
import duckdb, pyarrow.parquet, deltalake, taiyi_ray.lake.update
print("ready", flush=True)
"""


def test_an_update_that_is_killed_at_any_moment_loses_nothing(tmp_path):
    _killed(str(tmp_path / "lake"), Out(str(tmp_path / "out")), seed=1, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_lose_nothing_and_take_nothing_twice(tmp_path):
    _killed(str(tmp_path / "lake"), Out(str(tmp_path / "out")), seed=2, kills=200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_lose_nothing_in_a_bucket(bucket):
    _killed(f"{bucket}/lake", Out(f"{bucket}/out"), seed=3, kills=30)


def test_a_commit_whose_logs_were_not_written_is_finished_by_the_next_update(
    out, lake, monkeypatch
):
    out.add("pubmed26n0002.xml.gz", [Record("9", "Nine")], "2")
    monkeypatch.setattr(delta, "follow", lambda *_: None)
    update(lake, [out.address])
    monkeypatch.undo()
    assert asked(lake, "SELECT count(*) FROM documents") == [(4,)]
    assert DeltaTable(f"{lake}/documents").version() == 1
    update(lake, [out.address])
    assert {DeltaTable(f"{lake}/{table}").version() for table in TABLES} == {2}
    assert len(DeltaTable(f"{lake}/documents").to_pyarrow_table()) == 4

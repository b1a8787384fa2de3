"""Updates of a lake: its tables are what a person would compute from all rows there ever were."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taiyi_ray.errors import ConfigError, StorageError
from taiyi_ray.lake import commits
from taiyi_ray.lake.check import check
from taiyi_ray.lake.tables import TABLES
from taiyi_ray.lake.update import Settings, update
from tests.lake.lakes import FIRST, Naive, Out, Record, asked, changes, compare, paths, read

WORDS = ["Metformin", "insulin", "Stroke", "mice", "TP53", "糖尿病", "😀", "cells"]


class Corpus:
    """A seeded series of PubMed files: revisions, deletions, re-adds, versions, repeats.

    Args:
        seed: decides everything.
        folder: of the outputs.
    """

    def __init__(self, seed: int, folder: str) -> None:
        self._draw = random.Random(seed)
        self._folder = folder
        self.year, self._number = 25, 0
        self._known: dict[tuple[int, int], Record] = {}
        self.out = Out(f"{folder}/out-{self.year}")
        self._runs = 0
        self._failed: dict[str, list[Record]] = {}

    def _run(self) -> str:
        self._runs += 1
        return f"20260101T{self._runs:06d}-aaaaaa"

    def _text(self) -> str:
        return " ".join(self._draw.choices(WORDS, k=self._draw.randint(1, 5)))

    def _status(self) -> str:
        return self._draw.choices(["ok", "partial", "failed"], [8, 1, 1])[0]

    def _record(self) -> Record:
        draw = self._draw
        if self._known and draw.random() < 0.6:
            (pmid, version), old = draw.choice(sorted(self._known.items(), key=lambda i: i[0]))
            what = draw.choice(["metadata", "text", "same", "version", "delete"])
            if what == "delete":
                return Record(str(pmid), version=old.version, status="deleted")
            if what == "version":
                version = draw.randint(1, 3)
            text = self._text() if what in ("text", "version") else old.text
            journal = f"J{draw.randint(0, 9)}" if what == "metadata" else old.journal
            return Record(
                str(pmid), text, version, "" if old.book else journal, self._status(), old.book
            )
        if draw.random() < 0.2:  # a book states no version, and its PMID is among the others
            pmid = draw.choice([draw.randint(41, 60), draw.randint(900, 1200)])
            book = f"Book {draw.randint(0, 9)}"
            return Record(str(pmid), self._text(), None, "", self._status(), book)
        pmid = draw.choice([draw.randint(1, 40), draw.randint(900, 1200), 99_999])
        return Record(str(pmid), self._text(), 1, "J", self._status())

    def file(self) -> None:
        """The next file of the series."""
        self._number += 1
        records = [self._record() for _ in range(self._draw.randint(1, 12))]
        records.sort(key=lambda record: record.status == "deleted")
        if self._draw.random() < 0.2:
            records.append(Record(None, version=None, status="failed"))
        for record in records:
            if record.pmid and record.status != "deleted":
                self._known[int(record.pmid), record.version or 1] = record
        name = f"pubmed{self.year}n{self._number:04d}.xml.gz"
        if self._draw.random() < 0.1:
            name = f"sample-{self.year}-{self._number}.xml"  # another file has another name
        self.out.add(name, records, self._run())
        self._failed[name] = records

    def retry(self) -> None:
        """Replace a unit of this output, its failures gone."""
        if self._failed:
            name = self._draw.choice(sorted(self._failed))
            records = [
                replace(r, status="ok") if r.pmid and r.status in ("failed", "partial") else r
                for r in self._failed[name]
            ]
            self.out.replace(name, records, self._run())
            self._failed[name] = records

    def baseline(self) -> None:
        """A new year: some documents are in it, unchanged or not, and others are not."""
        self.year += 1
        self._number = 1
        self._failed = {}
        self.out = Out(f"{self._folder}/out-{self.year}")
        kept = [record for record in self._known.values() if self._draw.random() < 0.7]
        if not kept:
            kept = [Record("1", "Metformin")]
        self.out.add(f"pubmed{self.year}n0001.xml.gz", kept, self._run())


def sequence(lake: str, folder: str, seed: int, steps: int) -> Naive:
    """Some updates, the lake compared with the naive one after each."""
    corpus, naive = Corpus(seed, folder), Naive()
    draw = random.Random(seed + 1)
    for _ in range(steps):
        what = draw.choices(["file", "files", "retry", "baseline"], [4, 3, 1, 1])[0]
        baseline = None
        if what == "baseline":
            corpus.baseline()
            naive.floor = baseline = corpus.year
        elif what == "retry":
            corpus.retry()
        else:
            for _ in range(1 if what == "file" else 3):
                corpus.file()
        if not Path(corpus.out.address).exists():
            continue
        naive.take(corpus.out.rows())
        before = {row["pmid"]: row for row in read(lake, "documents")} if _there(lake) else {}
        done = update(
            lake, [corpus.out.address], Settings(baseline=baseline, pmids=1000, answers=True)
        )
        compare(lake, naive)
        after = {row["pmid"]: row for row in read(lake, "documents")}
        found = {
            row["pmid"]: (row["change"], row["cause"])
            for row in read(lake, "changes")
            if done.new and row["committed_in"] == done.commit.number
        }
        assert found == changes(before, after, {*naive.documents(-1)} if baseline else set())
        again = update(lake, [corpus.out.address])
        assert again.commit.number == done.commit.number and again.units == 0
    return naive


def _there(lake: str) -> bool:
    return Path(lake, "_lake").exists()


SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] * (seed > 0)) for seed in range(30)]


@pytest.mark.parametrize("seed", SEEDS)
def test_after_each_update_the_tables_are_what_a_naive_recomputation_gives(tmp_path, seed):
    sequence(str(tmp_path / "lake"), str(tmp_path), seed, 7 if seed == 0 else 12)


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


def test_an_output_of_an_older_program_that_lacks_columns_is_taken(out, tmp_path):
    (path,) = Path(out.address, "annotations").rglob("*.parquet")
    whole = pq.read_table(path)
    pq.write_table(whole.drop_columns(["labels", "title"]), path)
    lake = str(tmp_path / "older")
    update(lake, [out.address])
    assert asked(lake, "SELECT DISTINCT title FROM documents") == [(None,)]
    assert asked(lake, "SELECT count(*) FROM labels") == [(0,)]
    assert asked(lake, "SELECT count(*) > 0 FROM mentions") == [(True,)]
    assert not list(check(lake))


def test_answers_are_kept_when_they_are_wanted(out, tmp_path):
    lake = str(tmp_path / "answers")
    update(lake, [out.address], Settings(answers=True))
    assert asked(lake, "SELECT DISTINCT task FROM answers") == [("ner",)]
    with pytest.raises(ConfigError, match="--answers: the lake was made without"):
        update(lake + "2", [out.address])
        update(lake + "2", [out.address], Settings(answers=True))


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


def test_a_store_without_conditional_puts_is_refused(out, faulty, faulty_bucket):
    faulty.ignores_conditions = True
    with pytest.raises(StorageError, match="this store ignores If-None-Match"):
        update(f"{faulty_bucket}/lake", [out.address])
    assert commits.numbers(f"{faulty_bucket}/lake") == []


def test_a_version_that_counts_again_is_read_from_its_output_or_refused(out, lake, tmp_path):
    later = Out(str(tmp_path / "later"))
    later.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps", 2)], "2")
    update(lake, [later.address])
    later.add("pubmed26n0003.xml.gz", [Record("7", version=2, status="deleted")], "3")
    away = Path(out.address).rename(tmp_path / "away")
    with pytest.raises(StorageError, match="counts again, and its annotations must be read"):
        update(lake, [later.address])
    assert commits.opened(lake).number == 2
    away.rename(out.address)
    update(lake, [later.address])
    assert asked(lake, "SELECT title FROM documents WHERE pmid = 7") == [("Metformin helps",)]


def test_many_small_ranges_are_written_as_each_alone_would_be(tmp_path):
    out, lake = Out(str(tmp_path / "out")), str(tmp_path / "lake")
    pmids = range(1, 40_000, 777)
    out.add("pubmed26n0001.xml.gz", [Record(str(n), f"Text {n} of Mice") for n in pmids], "1")
    update(lake, [out.address], Settings(pmids=1000))
    assert paths(lake, "documents").keys() == {f"p{n // 1000:06d}" for n in pmids}
    before = paths(lake, "mentions")
    out.add("pubmed26n0002.xml.gz", [Record("1", "Other"), Record("778", status="deleted")], "2")
    update(lake, [out.address])
    after = paths(lake, "mentions")
    assert before.items() - after.items() == {("p000000", before["p000000"])}
    for range_, path in after.items():
        file = Path(lake, "mentions", path)
        (found,) = {f"p{pmid // 1000:06d}" for pmid in pq.read_table(file)["pmid"].to_pylist()}
        assert found == range_
    assert not list(check(lake))


def test_an_output_that_is_named_twice_is_taken_once(out, lake, tmp_path, monkeypatch):
    twice = str(tmp_path / "twice")
    monkeypatch.chdir(tmp_path)
    assert update(twice, ["out", "./out/", out.address]).units == 1
    for table in ("documents", "mentions", "revisions", "changes", "units"):
        wanted = [{**row, "committed_at": None} for row in read(lake, table)]
        assert [{**row, "committed_at": None} for row in read(twice, table)] == wanted
    assert not list(check(twice))


def test_a_folder_above_the_lake_is_no_column(out, tmp_path):
    lake = str(tmp_path / "pmid=5" / "status=x" / "lake")
    update(lake, [out.address])
    assert asked(lake, "SELECT pmid, status FROM documents ORDER BY 1") == [
        (7, "ok"), (12, "ok"), (300000, "ok"),
    ]  # fmt: skip
    assert not list(check(lake))


def test_a_lake_and_an_output_have_no_folder_in_common(out, tmp_path):
    other = Out(str(tmp_path / "lake" / "runs" / "out"))
    other.add("pubmed26n0001.xml.gz", FIRST)
    before = sorted(tmp_path.rglob("*"))
    for lake, output, message in (
        (out.address, out.address, "is an output of `annotate`"),
        (out.address, other.address, "is an output of `annotate`"),
        (f"{out.address}/lake", out.address, f"lies in the output {out.address}"),
        (str(tmp_path / "lake"), other.address, f"its folder runs holds .*{other.address}"),
    ):
        with pytest.raises(ConfigError, match=f"^--table {lake}: {message}"):
            update(lake, [output])
    assert sorted(tmp_path.rglob("*")) == before
    update(str(tmp_path), [out.address])  # an output beside the tables is in nobody's way
    assert not list(check(str(tmp_path)))


def test_a_unit_keeps_the_number_of_the_commit_that_took_it(out, lake):
    second = "pubmed26n0002.xml.gz"
    out.add(second, [Record("8", "Stroke", status="failed")], "2")
    update(lake, [out.address])
    numbers = "SELECT committed_in FROM units ORDER BY unit"
    assert asked(lake, numbers) == [(1,), (2,)]
    out.add("pubmed26n0003.xml.gz", [Record("9", "Nine")], "3")
    out.replace(second, [Record("8", "Stroke")], "4")
    update(lake, [out.address])
    assert asked(lake, numbers) == [(1,), (3,), (3,)]

"""Which version of a document counts, and whose annotations it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.lake import commits
from taiyi_ray.lake.check import check
from taiyi_ray.lake.update import Settings, update
from tests.lake.lakes import Out, Record, asked, paths, read


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
    assert "1 PubMed file without a name pubmedYYn<digits> (zzz.xml" in done.summary()
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


def test_a_baseline_removes_what_vanished_and_says_so(tmp_path, out, lake):
    year = Out(str(tmp_path / "27"))
    year.add("pubmed27n0001.xml.gz", [Record("7", "Metformin helps"), Record("8", "New")], "5")
    year.add("pubmed27n0003.xml.gz", [Record("12", "mice")], "6")
    with pytest.raises(ConfigError, match=r"1 file missing below number 3.*pubmed27n0002"):
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


def test_a_baseline_wants_the_files_of_earlier_outputs_whole_too(tmp_path, out, lake):
    early = Out(str(tmp_path / "early"))
    early.add("pubmed27n0001.xml.gz", [Record("7", "Metformin helps")], "5", complete=False)
    late = Out(str(tmp_path / "late"))
    late.add("pubmed27n0002.xml.gz", [Record("9", "More")], "6")
    update(lake, [early.address])
    with pytest.raises(ConfigError, match=r"pubmed27n0001.*was cut short by --limit"):
        update(lake, [late.address], Settings(baseline=27))
    assert asked(lake, "SELECT count(*) FROM documents") == [(3,)]
    # A file that another output has whole is no longer missing anything.
    late.add("pubmed27n0001.xml.gz", [Record("7", "Metformin helps"), Record("8", "Two")], "7")
    assert update(lake, [late.address], Settings(baseline=27)).counts["delete"] == 2


def test_a_fault_that_is_mended_is_forgotten(out, lake):
    name = "pubmed26n0002.xml.gz"
    records = [Record(None, version=None, status="failed"), Record("8", "Stroke")]
    out.add(name, records, "20260101T000002-aaaaaa")
    out.add("x.jsonl", [Record(None, version=None, status="failed")], "2", format_="jsonl")
    update(lake, [out.address])
    faults = "SELECT count(*) FROM revisions WHERE fault"
    assert (asked(lake, faults), asked(lake, "SELECT count(*) FROM failures")) == ([(2,)], [(2,)])
    # Done again by a program that reads the record: it is a document of another range now.
    out.replace(name, [Record("9", "Nine"), Record("8", "Stroke")], "20260101T000003-aaaaaa")
    assert update(lake, [out.address]).counts["insert"] == 1
    assert (asked(lake, faults), asked(lake, "SELECT count(*) FROM failures")) == ([(1,)], [(1,)])
    out.replace("x.jsonl", [Record("a", "One")], "20260101T000004-aaaaaa")
    update(lake, [out.address])
    assert (asked(lake, faults), asked(lake, "SELECT count(*) FROM failures")) == ([(0,)], [(0,)])
    assert not list(check(lake))


def test_a_fault_of_one_output_counts_no_more_where_another_reads_the_record(out, lake, tmp_path):
    again = Out(str(tmp_path / "again"))
    out.add("pubmed26n0002.xml.gz", [Record(None, version=None, status="failed")], "2")
    again.add("pubmed26n0002.xml.gz", [Record("9", "Nine")], "3")
    update(lake, [out.address, again.address])
    assert asked(lake, "SELECT count(*) FROM failures") == [(0,)]
    assert asked(lake, "SELECT count(*) FROM revisions WHERE fault") == [(0,)]


def test_a_baseline_without_new_units_is_a_commit_and_is_told_as_one(out, lake):
    out.add("pubmed27n0001.xml.gz", [Record("7", "Metformin helps")], "8")
    assert update(lake, [out.address]).summary() == "commit 2: 3 documents; 1 unit taken"
    done = update(lake, [out.address], Settings(baseline=27))
    assert done.summary() == "commit 3: 1 document; 0 units taken (2 delete)"
    again = update(lake, [out.address], Settings(baseline=27))
    assert again.summary() == "nothing new; commit 3: 1 document"


def test_of_the_same_rows_in_two_places_the_ledger_names_the_place_of_the_newest_update(
    out, lake, tmp_path
):
    before = read(lake, "documents")
    for name in ("a-moved", "z-moved", "b-moved"):  # whatever the order of the names
        moved = Path(out.address).rename(tmp_path / name)
        out.address = str(moved)
        done = update(lake, [str(moved)])
        assert (done.units, done.counts) == (1, {})
        assert asked(lake, "SELECT DISTINCT output FROM revisions") == [(str(moved),)]
    assert read(lake, "documents") == before
    assert not list(check(lake))

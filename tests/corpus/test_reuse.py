"""Answers of earlier outputs are found by fingerprint and text, in a lake or in an output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taiyi_ray.corpus.reuse import Answered, fingerprints
from taiyi_ray.errors import ConfigError
from taiyi_ray.lake.update import update
from taiyi_ray.records import Document
from tests.lake.lakes import FIRST, Out, Record, document

F, E = "f" * 16, "e" * 16


def wanted(text: str, position: int = 0, status: str = "ok") -> Document:
    """A document as a later delivery has it: of another source, and with another id."""
    return document(Record("999", text, status=status), "later.jsonl-01234567", position)


@pytest.fixture
def out(tmp_path: Path) -> Out:
    made = Out(str(tmp_path / "out"))
    made.add("pubmed26n0001.xml.gz", FIRST, "20260101T000001-aaaaaa")
    made.add("pubmed26n0002.xml.gz", [Record("8", "Stroke", status="failed")], "2")
    return made


@pytest.fixture(params=["lake", "output"])
def address(request: pytest.FixtureRequest, out: Out, tmp_path: Path) -> str:
    """What answers are copied from."""
    if request.param == "output":
        return out.address
    update(str(tmp_path / "lake"), [out.address])
    return str(tmp_path / "lake")


def test_a_text_that_was_answered_with_this_fingerprint_is_found_whatever_its_id(out, address):
    answered = Answered(address, {F, E})
    asked = [
        wanted("Insulin and Stroke", 4),
        wanted("Metformin helps", 5),
        wanted("Metformin helps?", 6),  # another text
        wanted("Stroke", 7),  # failed
        wanted("Metformin helps", 8, status="deleted"),
    ]
    found, lost = answered.find(F, asked)
    assert (found.keys(), lost) == ({4, 5}, 0)
    assert [m["text"] for m in found[5]["mentions"]] == ["Metformin"]
    assert found[5]["answers"][0]["raw"] == "x by 20260101T000001-aaaaaa"
    (unit, _) = sorted(out.committed())
    assert found[4]["answered_in"] == f"{out.address}/annotations/{unit}.parquet"
    assert Path(found[4]["answered_in"]).exists()
    assert answered.find(E, asked) == ({}, 0)
    assert [answered.has(F, one) for one in asked] == [True, True, False, False, False]


def test_a_copy_names_what_it_was_copied_from(out, tmp_path):
    first = Answered(out.address, [F]).find(F, [wanted("Metformin helps")])[0][0]
    later = Out(str(tmp_path / "later"))
    later.add("x.jsonl", [Record("1", "Metformin helps")], answered_in=first["answered_in"])
    found, _ = Answered(later.address, [F]).find(F, [wanted("Metformin helps")])
    assert found[0]["answered_in"] == first["answered_in"]


def test_an_output_that_is_gone_is_passed_over_where_another_has_the_answer(out, tmp_path, caplog):
    lake, other = str(tmp_path / "lake"), Out(str(tmp_path / "other"))
    other.add("pubmed26n0009.xml.gz", [Record("9", "Metformin helps")], "9")
    update(lake, [out.address, other.address])
    for gone in (other, out):
        Path(gone.address).rename(f"{gone.address}-away")
        asked = [wanted("Metformin helps"), wanted("mice", 1), wanted("never asked", 2)]
        found, lost = Answered(lake, [F]).find(F, asked)
        assert (found.keys(), lost) == (({0, 1}, 0) if gone is other else (set(), 2))
    assert "answers cannot be copied from there" in caplog.text


def test_answers_of_an_output_that_moved_are_found_after_an_update_from_its_new_place(
    out, tmp_path
):
    lake = str(tmp_path / "lake")
    update(lake, [out.address])
    moved = Path(out.address).rename(tmp_path / "a")  # a name before the old one
    assert Answered(lake, [F]).find(F, [wanted("mice")]) == ({}, 1)
    update(lake, [str(moved)])
    found, lost = Answered(lake, [F]).find(F, [wanted("mice")])
    assert (found[0]["answered_in"].startswith(f"{moved}/annotations/"), lost) == (True, 0)


def test_what_is_neither_a_lake_nor_an_output_is_refused(out, tmp_path):
    assert fingerprints(out.address) == {F}
    with pytest.raises(ConfigError, match="is neither a lake nor an output"):
        fingerprints(str(tmp_path))
    lake = str(tmp_path / "lake")
    update(lake, [out.address])
    assert fingerprints(lake) == {F}
    commit = Path(lake, "_lake", f"{1:09d}.json")
    commit.write_text(json.dumps({"format": 99, "tables": "otherwise"}))
    with pytest.raises(ConfigError, match=rf"^--reuse {lake}: another version of taiyi-ray made"):
        fingerprints(lake)

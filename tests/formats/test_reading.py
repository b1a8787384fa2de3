"""Reading a file for people, and making documents of values: `formats.read` and its neighbours."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, StorageError
from taiyi_ray.formats import document_from_value, read

EXAMPLES = Path(__file__).parents[2] / "examples"
LINE = json.dumps({"document_id": "1", "text": "Aspirin"}) + "\n"


def test_a_file_is_read_by_its_address_alone() -> None:
    found = read(EXAMPLES / "pubmed-sample.xml")
    assert found.format.name == "pubmed"
    assert [document.position for document in found] == list(range(30))
    assert [document.document_id for document in found][:2] == ["3549656", "8119288"]  # anew


def test_a_compressed_one_is_told_by_its_first_bytes_and_read_with_what_lies_beside_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(b"<article><body><p>x</p></body></article>"))
    assert read(str(tmp_path / "a.xml.gz")).format.name == "jats"
    (tmp_path / "b.ann").write_text("T1\tdrug 0 7\tAspirin\n")
    (tmp_path / "b.txt").write_text("Aspirin eased pain.")
    (document,) = read(tmp_path / "b.ann")
    assert (document.document_id, document.gold.mentions[0].text) == ("b", "Aspirin")


def test_one_in_a_bucket_is_read_likewise(bucket: str) -> None:
    storage.put_if_absent(f"{bucket}/in/a.jsonl.gz", gzip.compress(LINE.encode() * 2))
    assert [d.text for d in read(f"{bucket}/in/a.jsonl.gz")] == ["Aspirin"] * 2


def test_what_is_broken_is_a_failed_document_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress((LINE + "no json\n" + LINE * 500).encode())
    path.write_bytes(whole[:-12])
    found = list(read(path))
    assert [document.position for document in found] == list(range(len(found)))
    assert [document.status for document in found[:3]] == ["ok", "failed", "ok"]
    assert [found[n].errors[0].kind for n in (1, -1)] == ["not_json", "truncated"]


def test_keys_may_have_other_names_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"pmid": 7, "abstract": "Aspirin"}\n')
    columns = {"document_id": "pmid", "text": "abstract"}
    (document,) = read(tmp_path / "a.jsonl", columns=columns)
    assert (document.document_id, document.text) == ("7", "Aspirin")


def test_what_cannot_be_read_is_said_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(ConfigError, match=r"a\.docx: is not of a known format \(known: \.xml"):
        read(tmp_path / "a.docx")
    with pytest.raises(ConfigError, match="is a folder; name one of its files"):
        read(tmp_path)
    with pytest.raises(StorageError, match=r"none\.xml: cannot be read"):
        read(tmp_path / "none.xml")


def test_a_value_is_a_document_whatever_it_is() -> None:
    values: list[object] = ["Aspirin", {"text": "头痛"}, {"text": 7}, None, 1.5, {}, ["x"]]
    found = [document_from_value(value, n, f"here, {n}") for n, value in enumerate(values)]
    assert [document.position for document in found] == list(range(7))
    assert [document.status for document in found] == ["ok"] * 2 + ["failed"] * 5
    assert [(d.document_id, d.passages[0].language) for d in found[:2]] == [
        ("0", "en"),
        ("1", "zh"),
    ]
    assert {failure.where for failure in found[3].errors} == {"here, 3"}
    assert "found NoneType" in found[3].errors[0].message


def test_the_language_that_is_given_is_of_those_that_name_none() -> None:
    values: list[object] = ["Aspirin", {"text": "Aspirin", "language": "en"}]
    found = [document_from_value(value, 0, "", language="zh") for value in values]
    assert [document.passages[0].language for document in found] == ["zh", "en"]

"""Rows as objects: typed, as plain values, as tables, as HTML; and read back from an output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from taiyi_ray import storage
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError, StorageError
from taiyi_ray.job.output import JobOutput
from taiyi_ray.notebook import annotate
from taiyi_ray.records import SCHEMA, Answer, Label, Mention
from taiyi_ray.rows import Row, Rows, read_rows

TEXT = "Aspirin eased headache in patients with migraine. It raised expression of COX-2."


@pytest.fixture(scope="module")
def rows() -> Rows:
    given = [
        {"document_id": "a", "title": "Pain", "text": TEXT, "metadata": {"journal": "J", "n": "1"}},
        {"document_id": "b", "text": "患者男性，因反复咳嗽咳痰两周入院，既往有高血压病史。"},
        {"document_id": "c"},
    ]
    options = {"tc": {"labels": ["a", "b"]}}
    return annotate(given, engine="fake", scores=True, tasks=["ner", "re", "tc"], options=options)


def test_a_row_has_what_was_found_as_objects(rows: Rows) -> None:
    row = rows[0]
    assert (row.document_id, row.title, row.status) == ("a", "Pain", "ok")
    assert row.metadata == {"journal": "J", "n": "1"}
    assert row.text == f"Pain\n{TEXT}" == "\n".join(p.text for p in row.passages)
    assert all(isinstance(mention, Mention) for mention in row.mentions)
    for mention in row.mentions:
        assert row.text[mention.start : mention.end] == mention.text
    ids = {mention.id for mention in row.mentions}
    assert row.relations
    assert all({*relation.head, *relation.tail} <= ids for relation in row.relations)
    assert all(isinstance(label, Label) for label in row.labels)
    assert all(isinstance(answer, Answer) for answer in row.answers)
    assert (row.events, row.texts, row.errors) == ([], [], [])
    assert len(row.fingerprint) == 16
    assert rows[2].errors[0].kind == "invalid_record"


def test_the_document_of_a_row_can_be_asked_about_again(rows: Rows) -> None:
    cut = {**rows[0].to_dict(), "status": "partial", "errors": rows[2].to_dict()["errors"]}
    (again,) = annotate(Row(cut).document, engine="fake", tasks=["ner"])
    assert (again.status, again.errors) == ("ok", [])
    assert again.text == rows[0].text
    assert Row({**cut, "status": "deleted"}).document.status == "deleted"
    assert rows[2].document.status == "failed"


def test_the_plain_values_are_json_and_a_copy(rows: Rows) -> None:
    values = rows[0].to_dict()
    assert Row(json.loads(json.dumps(values))) == rows[0]
    values["mentions"].clear()
    values["metadata"].clear()
    assert rows[0].mentions and rows[0].to_dict() != values


def test_the_table_is_as_the_corpus_job_writes_it(rows: Rows) -> None:
    table = rows.to_arrow()
    assert table.schema == SCHEMA
    assert Rows(map(Row, table.to_pylist())) == as_stored(rows)
    assert Rows([]).to_arrow().schema == SCHEMA


def as_stored(rows: Rows) -> Rows:
    """The rows with scores as 32 bits hold them."""
    narrow = pa.array([0.0], pa.float32())

    def stored(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: stored(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [stored(inner) for inner in value]
        return pa.array([value], narrow.type)[0].as_py() if isinstance(value, float) else value

    return Rows(Row(stored(row.to_dict())) for row in rows)


def test_the_data_frame_has_a_line_a_document(rows: Rows) -> None:
    frame = rows.to_pandas()
    assert list(frame["document_id"])[:2] == ["a", "b"]
    assert frame["metadata"][0] == {"journal": "J", "n": "1"}
    assert frame["mentions"][0][0]["text"] == rows[0].mentions[0].text


def test_rows_are_a_sequence(rows: Rows) -> None:
    assert len(rows) == 3
    assert isinstance(rows[1:], Rows)
    assert [row.document_id for row in rows[1:]] == ["b", None]
    assert rows[-1] == rows[2] != rows[0]
    assert repr(rows) == "<Rows of 3 documents>"
    found = f"{len(rows[0].mentions)} mentions, {len(rows[0].relations)} relations, 1 labels"
    assert repr(rows[0]) == f"<Row 'a', ok, {found}>"
    assert repr(rows[2]) == "<Row None, failed>"


# ------------------------------------------------------------------------------ read back


def output(place: str, rows: Rows, sources: int = 2) -> str:
    """An output with these rows as the unit of each of so many sources."""
    storage.put_if_absent(storage.join(place, "job.json"), b"{}")
    written = JobOutput(place)
    for number in range(sources):
        unit = Unit(source=f"{number}.jsonl", path="", first=0, last=len(rows) - 1)
        values = [{**row.to_dict(), "position": n, "unit": unit.name} for n, row in enumerate(rows)]
        pairs = [{**one, "metadata": list(one["metadata"].items())} for one in values]
        written.commit(unit, pairs, "20260101T000000-aaaaaa")
    return place


def ids(found: Iterator[Row]) -> list[str | None]:
    return [row.document_id for row in found]


def test_an_output_is_read_back_source_by_source_in_order(rows: Rows, tmp_path: Path) -> None:
    place = output(str(tmp_path), rows)
    assert ids(read_rows(place)) == ["a", "b", None] * 2
    first = next(read_rows(tmp_path))
    assert (first.mentions, first.metadata) == (as_stored(rows)[0].mentions, rows[0].metadata)
    assert len(Rows(islice(read_rows(place), 4)).to_pandas()) == 4


def test_one_in_a_bucket_is_read_back_likewise(rows: Rows, bucket: str) -> None:
    assert ids(read_rows(output(f"{bucket}/out", rows, 1) + "/")) == ["a", "b", None]


def test_a_unit_is_read_when_its_first_row_is_asked_for(rows: Rows, tmp_path: Path) -> None:
    place = output(str(tmp_path), rows)
    (second,) = (tmp_path / "annotations" / "1.jsonl").iterdir()
    found = read_rows(place)
    assert [next(found).document_id for _ in rows] == ["a", "b", None]
    second.unlink()
    with pytest.raises(StorageError, match=r"1\.jsonl.*cannot be read"):
        next(found)


def test_what_is_no_output_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no output of `taiyi-ray annotate` is there"):
        read_rows(tmp_path)


def test_an_output_of_nothing_yet_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    assert ids(read_rows(tmp_path)) == []

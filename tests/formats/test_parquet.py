"""Parquet: rows as documents, columns by their names or others, and files that are none."""

from __future__ import annotations

import gzip
import io
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taiyi_ray.formats import documents, parquet
from taiyi_ray.records import SCHEMA, Annotations, Concept, Document, Mention, Span, passages
from tests.formats.annotated import check_contracts, read


def file_of(rows: list[dict[str, Any]], schema: pa.Schema | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer, **options)
    return buffer.getvalue()


def test_rows_are_documents_and_other_columns_metadata() -> None:
    rows = [
        {
            "document_id": 7,
            "title": "T 🧬",
            "text": "An abstract",
            "language": "en",
            "version": 2,
            "year": 2020,
            "when": date(2020, 2, 3),
            "price": Decimal("1.50"),
            "nothing": None,
            "share": float("nan"),
            "raw": b"\xff",
            "tags": ["a", "b"],
        },
        {"document_id": 8, "text": "x"},
    ]
    first, second = read(parquet.FORMAT, file_of(rows))
    assert (first.document_id, first.version, first.title) == ("7", 2, "T 🧬")
    assert [p.text for p in first.passages] == ["T 🧬", "An abstract"]
    assert first.metadata == {
        "year": "2020",
        "when": "2020-02-03",
        "price": "1.50",
        "tags": "a; b",
    }
    assert (second.document_id, second.title, second.metadata) == ("8", None, {})


def test_columns_of_other_names() -> None:
    data = file_of([{"pmid": "1", "abstract": "An abstract", "text": "unwanted", "year": 2020}])
    columns = {"document_id": "pmid", "text": "abstract"}
    (document,) = documents(
        io.BytesIO(data), "a.parquet", parquet.FORMAT, "s", 0, 9, columns=columns
    )
    assert (document.document_id, document.text) == ("1", "An abstract")
    assert document.metadata == {"year": "2020"}
    (document,) = documents(
        io.BytesIO(data), "a.parquet", parquet.FORMAT, "s", 0, 9, columns={"text": "nowhere"}
    )
    assert document.status == "failed"


def test_our_own_rows_are_read_with_their_annotations_as_gold() -> None:
    text = "TNF in mice"
    mentions = [
        Mention(0, "gene", "TNF", 0, 3, [], 0, "exact", 0.5, Concept("NCBI Gene", "7124")),
        Mention(1, None, "TNF mice", 0, 11, [Span(0, 3), Span(7, 11)], 0),
    ]
    row = {
        "document_id": "1",
        "metadata": [("journal", "J")],
        "passages": [{"type": "title", "language": "en", "offset": 0, "text": text}],
        "title": text,
        "mentions": [
            {
                "id": m.id, "type": m.type, "text": m.text, "start": m.start, "end": m.end,
                "spans": [{"start": s.start, "end": s.end} for s in m.spans],
                "passage": 0, "grounded": "exact", "score": m.score,
                "concept": m.concept and
                {"db": "NCBI Gene", "id": "7124", "name": None, "score": None},
            }
            for m in mentions
        ],
        "relations": [], "events": [], "labels": [{"task": "t", "label": "x", "score": None}],
        "texts": [], "answers": [], "status": "ok", "errors": [], "source": "s", "position": 0,
    }  # fmt: skip
    (document,) = read(parquet.FORMAT, file_of([row], SCHEMA))
    check_contracts(document)
    assert document.gold.mentions == mentions
    assert [label.label for label in document.gold.labels] == ["x"]
    assert document.passages == passages([("title", "en", text)])
    assert document.metadata["journal"] == "J"


def test_rows_of_many_groups_come_in_order() -> None:
    rows = [{"document_id": n, "text": "x"} for n in range(300)]
    found = read(parquet.FORMAT, file_of(rows, row_group_size=7))
    assert [d.document_id for d in found] == [str(n) for n in range(300)]


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (b"", ["not_parquet"]),
        (b"PAR1 nothing PAR1", ["not_parquet"]),
        (file_of([{"document_id": "1", "text": "x"}])[:-30], ["not_parquet"]),
        (file_of([], pa.schema([("text", pa.string())])), ["empty"]),
        (file_of([{"document_id": None, "text": "x"}]), ["no_document_id"]),
        (file_of([{"document_id": "1", "text": None}]), ["invalid_record"]),
    ],
)
def test_broken_files(data: bytes, kinds: list[str]) -> None:
    found: list[Document] = read(parquet.FORMAT, data)
    assert [d.errors[0].kind for d in found] == kinds
    assert all(d.gold == Annotations() for d in found)


FAR = pa.array([1, 2**31 - 1, 2], pa.date32())
NOT_UTF8 = pa.array([b"a", b"\xff", b"c"]).view(pa.string())


@pytest.mark.parametrize(("name", "values"), [("when", FAR), ("note", NOT_UTF8)])
def test_a_value_that_cannot_be_read_fails_its_row_alone(name: str, values: pa.Array) -> None:
    buffer = io.BytesIO()
    table = pa.table({"document_id": ["1", "2", "3"], "text": ["a", "b", "c"], name: values})
    pq.write_table(table, buffer)
    found = read(parquet.FORMAT, buffer.getvalue())
    assert [(d.document_id, d.status) for d in found] == [
        *(("1", "ok"), (None, "failed"), ("3", "ok"))
    ]
    assert found[1].errors[0].kind == "invalid_record"


def again(value: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]))


LONG = 12 << 20
IDS = [str(n) for n in range(64)]
NAMED_AGAIN = pa.ListArray.from_arrays(pa.array([0, 500, 501], pa.int32()), again("x" * LONG, 501))
NOTHING = pa.ListArray.from_arrays(pa.array([0, 2 << 20], pa.int32()), pa.nulls(2 << 20, pa.int8()))
SMALL_AND_HUGE: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "one value of 70 MB": ({"document_id": ["1"], "text": ["x" * (70 << 20)]}, {}, ["too_large"]),
    "the same text in each row": (
        {"document_id": IDS, "text": again("x" * LONG, 64)}, {}, ["ok"] * 5 + ["too_large"],
    ),
    "a text as long as the one before": (
        {"document_id": IDS, "text": ["x" * LONG] * 64},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        ["ok"] * 5 + ["too_large"],
    ),
    "a long value named again in a list": (
        {"document_id": ["1", "2"], "text": ["a", "b"], "tags": NAMED_AGAIN}, {},
        ["too_large", "ok"],
    ),
    "a list of two million nothings": (
        {"document_id": ["1"], "text": ["a"], "tags": NOTHING}, {}, ["too_large"],
    ),
    "two million rows of nothing": ({"x": pa.nulls(2 << 20, pa.int8())}, {}, ["too_large"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL_AND_HUGE)
def test_a_small_file_does_not_become_huge(name: str) -> None:
    columns, options, expected = SMALL_AND_HUGE[name]
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd", **options)
    assert len(buffer.getvalue()) < 30_000
    before = pa.total_allocated_bytes()
    pool = pa.default_memory_pool()
    found, most = [], 0
    for document in documents(buffer, "a.parquet", parquet.FORMAT, "s", 0, 1 << 40):
        found.append("ok" if document.status == "ok" else document.errors[0].kind)
        most = max(most, pool.bytes_allocated() - before)
    assert found == expected
    assert most < 4 * (16 << 20) + (16 << 20)


def test_bytes_are_not_even_read() -> None:
    data = file_of([{"document_id": n, "text": "x", "scan": bytes(1 << 20)} for n in range(80)])
    assert [d.status for d in read(parquet.FORMAT, data)] == ["ok"] * 80


def test_gzip_around_it_is_refused_by_name() -> None:
    data = gzip.compress(file_of([{"document_id": "1", "text": "x"}]))
    (document,) = read(parquet.FORMAT, data, "a.parquet.gz")
    assert document.errors[0].kind == "compressed"

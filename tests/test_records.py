"""Records: offsets, hashes, the way through Arrow, and the columns that readers rely on."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.records import (
    DOCUMENT_SCHEMA,
    ENTRIES,
    SCHEMA,
    Annotations,
    Concept,
    Document,
    Failure,
    Label,
    Mention,
    Passage,
    Relation,
    Span,
    as_table,
    as_values,
    columns_markdown,
    document_from_row,
    document_row,
    passages,
    passed_row,
    rows_of,
    storable_text,
)

ROOT = Path(__file__).resolve().parents[1]

PARTS = [("title", "en", "A 😀 title"), ("abstract", "en", ""), ("abstract", "zh", "𠮷林糖尿病")]
FULL = Document(
    document_id="31234567",
    passages=passages(PARTS),
    version=2,
    language="zh",
    title="A 😀 title",
    metadata={"journal": "J", "year": "2020"},
    source="a.jsonl-01234567",
    position=3,
)
BROKEN = Document(
    document_id=None, status="failed", errors=[Failure("not_json", "a, record 0", "no")]
)


def test_passages_are_laid_out_in_code_points_and_empty_ones_left_out():
    assert passages(PARTS) == [
        Passage("title", "en", 0, "A 😀 title"),
        Passage("abstract", "zh", 10, "𠮷林糖尿病"),
    ]


def test_the_text_is_the_passages_joined_and_every_offset_finds_its_passage():
    assert FULL.text == "A 😀 title\n𠮷林糖尿病"
    for passage in FULL.passages:
        assert FULL.text[passage.offset : passage.end] == passage.text
    assert Document(None).text == ""


def test_the_content_hash_is_of_the_passages_and_stays():
    assert FULL.content_hash() == (
        "814c670a9c0e0a2bebf93d9af0e650524151c9499dc62046138d1c58a14eccf3"
    )
    assert Document("other", passages(PARTS)).content_hash() == FULL.content_hash()


@pytest.mark.parametrize(
    "parts",
    [
        [("title", "en", "ab")],
        [("title", "zh", "a")],
        [("text", "en", "a")],
        [("titlee", "n", "a")],
        [("title", "en", "a"), ("title", "en", "a")],
        [],
    ],
)
def test_the_content_hash_differs_with_every_part(parts):
    usual = Document(None, passages([("title", "en", "a")]))
    assert Document(None, passages(parts)).content_hash() != usual.content_hash()


@pytest.mark.parametrize("document", [FULL, BROKEN])
def test_a_document_comes_through_arrow_as_it_was(document):
    table = pa.Table.from_pylist([document_row(document)], DOCUMENT_SCHEMA)
    (row,) = table.to_pylist()
    assert document_from_row(row) == document


def test_an_engine_gets_the_mentions_of_the_input_and_a_row_does_not():
    document = Document(None, passages([("text", "en", "ASA")]))
    mentions = [Mention(0, "chemical", "ASA", 0, 3, [], 0, concept=Concept("MESH", "D001241"))]
    document.gold = Annotations(mentions, labels=[Label("tc", "a")])
    (row,) = pa.Table.from_pylist([passed_row(document)], DOCUMENT_SCHEMA).to_pylist()
    assert document_from_row(row).gold == Annotations(mentions)
    assert "given_mentions" not in document_row(document)


def test_the_columns_are_these_and_in_this_order():
    assert SCHEMA.names == [
        "document_id", "version", "language", "title", "metadata", "passages", "mentions",
        "relations", "events", "labels", "texts", "answers", "status", "errors", "source",
        "position", "unit", "run_id", "fingerprint", "content_hash", "answered_in",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "type_"),
    [
        ("document_id", "string"),
        ("version", "int32"),
        ("position", "int64"),
        ("metadata", "map<string, string>"),
        (
            "passages",
            "list<item: struct<type: string, language: string, offset: int32, text: string>>",
        ),
        (
            "mentions",
            "list<item: struct<id: int32, type: string, text: string, start: int32, end: int32, "
            "spans: list<item: struct<start: int32, end: int32>>, passage: int32, "
            "grounded: string, score: float, "
            "concept: struct<db: string, id: string, name: string, score: float>>>",
        ),
        (
            "relations",
            "list<item: struct<id: int32, type: string, head_text: string, tail_text: string, "
            "head: list<item: int32>, tail: list<item: int32>, score: float>>",
        ),
        (
            "events",
            "list<item: struct<id: int32, type: string, trigger: int32, "
            "arguments: list<item: struct<role: string, mention: int32, text: string>>>>",
        ),
        ("labels", "list<item: struct<task: string, label: string, score: float>>"),
        ("texts", "list<item: struct<task: string, text: string>>"),
        (
            "answers",
            "list<item: struct<task: string, types: list<item: string>, language: string, "
            "window: int32, attempt: int32, raw: string, prompt_tokens: int32, "
            "cached_tokens: int32, output_tokens: int32, finish_reason: string, error: string>>",
        ),
        ("errors", "list<item: struct<kind: string, where: string, message: string>>"),
    ],
)
def test_the_types_are_a_contract(column, type_):
    assert str(SCHEMA.field(column).type) == type_


def test_the_documentation_of_the_columns_is_up_to_date():
    found = (ROOT / "docs" / "columns.md").read_text(encoding="utf-8")
    assert found == columns_markdown(), "run `make docs`"


def test_values_are_those_of_the_records_at_every_depth():
    concept = Concept("MeSH", "D003920", "diabetes", 0.5)
    mention = Mention(0, "disease", "糖尿病", 2, 5, [Span(2, 3), Span(4, 5)], concept=concept)
    found = Annotations([mention, Mention(1, None, "x", None, None)], [])
    found.relations.append(Relation(0, "treatment", "a", "b", [0, 1], [], 0.25))
    assert as_values(found) == asdict(found)
    assert as_values([mention]) == [asdict(mention)]


def test_the_documentation_has_every_column_and_nested_field():
    text = columns_markdown()
    for column in SCHEMA:
        assert f"| `{column.name}` | " in text
    for row in (
        "| `metadata` | map of string to string | What else the format gives: ",
        "| `mentions` | list of struct | One entry for each occurrence: ",
        "| `mentions[].spans` | list of struct |",
        "| `mentions[].spans[].start` | int32 |",
        "| `mentions[].concept.db` | string |",
        "| `relations[].head` | list of int32 |",
        "| `events[].arguments[].role` | string |",
    ):
        assert row in text
    for path, meaning in ENTRIES.items():
        assert f"| `{path}` | " in text and meaning.endswith(".")


def test_a_row_that_arrow_refuses_costs_itself_and_no_other():
    rows = [document_row(FULL) | {"position": n} for n in range(4)]
    rows[1]["title"] = "\ud800"
    rows[3]["version"] = 1 << 40
    refused = []

    def instead(row, reason):
        refused.append((row["position"], reason.partition(":")[0]))
        return document_row(BROKEN) | {"position": row["position"], "title": "half \udc00"}

    table = as_table(rows, DOCUMENT_SCHEMA, instead)
    assert refused == [(1, "UnicodeEncodeError"), (3, "ArrowInvalid")]
    assert table.to_pylist() == pa.Table.from_pylist(rows, DOCUMENT_SCHEMA).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "failed"]
    assert rows[1]["title"] == "half \ufffd"


def test_rows_that_an_older_program_wrote_have_all_columns():
    new = pa.Table.from_pylist([document_row(FULL)], SCHEMA)
    older = new.drop_columns(["events", "texts", "run_id"]).append_column("gone", pa.array([1]))
    (row,) = rows_of(older)
    assert list(row) == SCHEMA.names
    assert (row["events"], row["texts"], row["run_id"]) == ([], [], None)
    assert row["passages"] == rows_of(new)[0]["passages"] == as_values(FULL.passages)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_stored_and_keeps_its_length(text):
    stored = storable_text(text)
    assert pa.array([stored]).to_pylist() == [stored]
    assert len(stored) == len(text)
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert stored == text

"""JSON Lines: lines, passages, metadata, and every way a line can be wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import documents, json_lines
from taiyi_ray.formats.format import RawRecord
from taiyi_ray.records import Annotations, Document, Label, Passage, Relation
from tests.formats.annotated import check_contracts


def scan(data: bytes) -> list[RawRecord]:
    return list(json_lines.scan(io.BytesIO(data)))


def read(data: bytes) -> list[Document]:
    return list(documents(io.BytesIO(data), "a.jsonl", json_lines.FORMAT, "a", 0, 1 << 40))


def parse(record: object) -> Document:
    return json_lines.parse(RawRecord("line", json.dumps(record).encode()))


def error(line: bytes) -> tuple[str, str]:
    with pytest.raises(FormatError) as caught:
        json_lines.parse(RawRecord("line", line))
    return caught.value.kind, str(caught.value)


def test_title_and_text() -> None:
    document = parse({"document_id": 7, "title": "🧬 α", "text": "e\u0301 x", "version": 2})
    assert document == Document(
        "7",
        [Passage("title", "en", 0, "🧬 α"), Passage("text", "en", 4, "e\u0301 x")],
        version=2,
        title="🧬 α",
    )


def test_passages_and_languages() -> None:
    given = [
        {"text": "研究 BRCA1 基因突变。"},
        {"text": "Study of 中 in mice and men", "type": "abstract"},
        {"text": ""},
        {"text": "x", "language": "zh-CN"},
    ]
    assert parse({"document_id": "a", "passages": given}).passages == [
        Passage("text", "zh", 0, "研究 BRCA1 基因突变。"),
        Passage("abstract", "en", 15, "Study of 中 in mice and men"),
        Passage("text", "zh", 42, "x"),
    ]
    document = parse({"document_id": "a", "language": "eng", "passages": given[:1]})
    assert (document.language, document.passages[0].language) == ("en", "en")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("zh_TW", "zh"),
        ("CHI", "zh"),
        ("zho", "zh"),
        ("Chinese", "zh"),
        ("en-GB", "en"),
        ("haw", "haw"),
    ],
)
def test_language_names(name: str, code: str) -> None:
    assert parse({"document_id": "a", "language": name, "text": "x"}).language == code


def test_metadata() -> None:
    record = {"document_id": "a", "text": "x", "year": 2008, "tags": ["a", 1], "none": None}
    document = parse({**record, "metadata": {"year": "2009", "deep": {"k": "目"}, "open": True}})
    assert document.metadata == {
        "year": "2009",
        "tags": "a; 1",
        "deep": '{"k": "目"}',
        "open": "true",
    }


def test_lines() -> None:
    one = b'{"document_id": "%d", "text": "x"}'
    data = b"\xef\xbb\xbf" + one % 1 + b"\r\n\r\n  \n" + one % 2 + b"\n" + one % 3
    assert [d.document_id for d in read(data)] == ["1", "2", "3"]
    assert [d.errors for d in read(data)] == [[], [], []]


@pytest.mark.parametrize("data", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_empty_files(data: bytes) -> None:
    assert [record.fault for record in scan(data)] == ["empty"]


@pytest.mark.parametrize("chunk", [1, 10, 64, 1 << 20])
def test_a_line_that_is_too_long(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MAX_RECORD_BYTES", 100)
    monkeypatch.setattr(json_lines, "_CHUNK", chunk)
    data = b"\n".join([b"a" * 100, b"b" * 101, b"c", b"d" * 5000, b"e", b"f" * 104])
    found = [record.fault or record.data[:1].decode() for record in scan(data)]
    assert found == ["a", "too_large", "c", "too_large", "e", "too_large"]


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        (b"{", "not_json", "line 1 column 2"),
        (b'{"a": NaN}', "not_json", "NaN is not a JSON number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not_json", "4300"),
        (b'{"a": ' + b"[" * 100_000, "not_json", "nested more than 100 deep"),
        (b"[]", "invalid_record", "expected an object, found a list"),
        (b"null", "invalid_record", "found null"),
        (b'{"text": "x"}', "no_document_id", "no document_id"),
        (b'{"document_id": "", "text": "x"}', "no_document_id", "no document_id"),
        (b'{"document_id": 1.5, "text": "x"}', "invalid_record", "document_id must be a string"),
        (b'{"document_id": true, "text": "x"}', "invalid_record", "not true or false"),
        (b'{"document_id": "1"}', "invalid_record", "neither text nor passages"),
        (
            b'{"document_id": "1", "text": 5}',
            "invalid_record",
            "text must be a string, not a number",
        ),
        (b'{"document_id": "1", "text": "", "passages": []}', "invalid_record", "both"),
        (b'{"document_id": "1", "passages": {}}', "invalid_record", "passages must be a list"),
        (
            b'{"document_id": "1", "passages": ["x"]}',
            "invalid_record",
            "passages[0] must be an object",
        ),
        (b'{"document_id": "1", "passages": [{}]}', "invalid_record", "passages[0] has no text"),
        (b'{"document_id": "1", "passages": [{"text": []}]}', "invalid_record", "passages[0].text"),
        (b'{"document_id": "1", "passages": [{"text": "", "x": 1}]}', "invalid_record", "'x'"),
        (b'{"document_id": "1", "text": "x", "version": "2"}', "invalid_record", "version"),
        (b'{"document_id": "1", "text": "x", "metadata": []}', "invalid_record", "metadata"),
        (b'{"document_id": "1", "text": "x", "metadata": [1]}', "invalid_record", "metadata"),
        (b'{"document_id": "1", "text": "\\ud800"}', "invalid_record", "lone surrogate"),
        (b'{"document_id": "1", "text": "x", "\\udc00": 1}', "invalid_record", "lone surrogate"),
        (b'{"document_id": "1", "text": "\xff"}', "encoding", "UTF-8"),
        (b'{"document_id": "1", "text": "\xed\xa0\x80"}', "encoding", "UTF-8"),
    ],
)
def test_wrong_lines(line: bytes, kind: str, words: str) -> None:
    found, message = error(line)
    assert found == kind
    assert words in message


def test_a_pair_of_escaped_surrogates_is_one_character() -> None:
    line = b'{"document_id": "1", "text": "\\ud83e\\uddec"}'
    assert json_lines.parse(RawRecord("line", line)).text == "🧬"


def test_annotations_of_our_rows_are_gold() -> None:
    record = {
        "document_id": "1",
        "title": "TNF",
        "text": "TNF binds",
        "mentions": [
            {"id": 5, "type": "gene", "text": "TNF", "start": 4, "end": 7},
            {"id": 6, "type": "gene", "text": "binds", "start": 8, "end": 12, "score": 0.5},
        ],
        "relations": [
            {"id": 0, "type": "r", "head_text": "TNF", "tail_text": "x", "head": [5], "tail": []}
        ],
        "labels": [{"task": "t", "label": "a"}],
        "events": ["not", "objects"],
    }
    document = parse(record)
    check_contracts(document)
    assert [(m.id, m.start, m.end, m.score) for m in document.gold.mentions] == [
        (5, 4, 7, None),
        (6, 8, 13, 0.5),
    ]
    assert document.gold.relations == [Relation(0, "r", "TNF", "x", [5], [])]
    assert document.gold.labels == [Label("t", "a")]
    assert document.metadata == {"events": "not; objects"}
    assert [error.kind for error in document.errors] == ["gold_moved"]


@pytest.mark.parametrize("entry", [{"text": "x"}, {"id": "a", "more": 1}, {}])
def test_objects_that_are_no_annotations_of_ours_are_metadata(entry: dict[str, object]) -> None:
    document = parse({"document_id": "1", "text": "x", "mentions": [entry]})
    assert document.gold == Annotations()
    assert document.metadata == {"mentions": json.dumps(entry)}
    assert [error.kind for error in document.errors] == ["gold_left_out"]


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (-1, 3, "-1 to 3"),
        (0, 2.5, "0 to 2.5"),
        ("x", 3, "'x' to 3"),
        (0, None, "0 to nothing"),
        ([0], 3, "no number to 3"),
        (0, 10**4000, "0 to no number"),
    ],
)
def test_a_place_that_is_none_costs_the_mention_its_place_alone(start, end, told) -> None:
    where = {"start": start, "end": end}
    bad = {"id": 1, "type": "g", "text": "TNF", **where}
    good = {"id": 2, "type": "g", "text": "binds", "start": 4, "end": 9}
    parts = {"id": 3, "type": "g", "text": "T b", "start": 0, "end": 5, "spans": [where]}
    record = {"document_id": "1", "text": "TNF binds", "mentions": [bad, good, parts]}
    document = parse(record)
    check_contracts(document)
    assert [m.start for m in document.gold.mentions] == [None, 4, None]
    (error,) = document.errors
    assert (error.kind, f"as in 'TNF' at {told}" in error.message) == ("gold_offsets", True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_with_byte_order_marks_are_read_also_where_several_were_made_one(encoding) -> None:
    line = '{"document_id": "1", "text": "é 🧬"}\n'
    found = read((line + "\ufeff" + line + "\ufeff\n" + line).encode(encoding))
    assert [(d.status, d.text) for d in found] == [("ok", "é 🧬")] * 3


def test_a_title_that_is_a_passage_already_is_no_second_one() -> None:
    given = [{"type": "vernacular_title", "text": "T"}, {"text": "x"}]
    document = parse({"document_id": "1", "title": "T", "passages": given})
    assert [p.type for p in document.passages] == ["vernacular_title", "text"]


def test_keys_of_other_names() -> None:
    line = b'{"pmid": 7, "abstract": "x", "text": "y", "year": 1}'
    document = json_lines.parse(
        RawRecord("line", line, columns={"document_id": "pmid", "text": "abstract"})
    )
    assert (document.document_id, document.text) == ("7", "x")
    assert document.metadata == {"year": "1"}


def made(record: object) -> Document:
    return json_lines.object_document(record, "7")  # type: ignore[arg-type]


def test_an_object_that_was_never_a_line_has_an_id_in_any_case() -> None:
    assert made({"text": "x"}).document_id == "7"
    assert made({"document_id": 3, "text": "x"}).document_id == "3"
    bioc = {"id": "b", "passages": [{"offset": 0, "infons": {}, "text": "x"}]}
    given = json.loads(json.dumps(bioc))
    assert (made(given).document_id, made(given).text) == ("b", "x")
    assert given == bioc


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (float("nan"), "not_json", "nan is not a JSON number"),
        pytest.param(10**4400, "not_json", "digits", id="long"),
        ({1: "x"}, "not_json", "the key 1 is no string"),
        (("a",), "not_json", "no values of the type tuple"),
        ("\ud800", "invalid_record", "lone surrogate"),
    ],
)
def test_an_object_with_a_value_that_no_line_can_hold_is_refused(value, kind, words) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        made({"text": "x", "more": value})
    assert caught.value.kind == kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["document_id", "text", "passages", "title", "language", "version", "metadata", "more"]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(KEYS, JSON | st.just([{"text": "x"}]), max_size=8).map(json.dumps)
        | st.text()
    )
)
def test_every_line_is_a_document(lines: list[str]) -> None:
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    found = read(data)
    assert len(found) == len(scan(data))
    for document in found:
        for passage in document.passages:
            assert document.text[passage.offset : passage.end] == passage.text
        document.content_hash()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(1, 5))
def test_any_bytes_in_any_chunks(data: bytes, chunk: int) -> None:
    whole = scan(data)
    assert len(read(data)) == len(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "_CHUNK", chunk)
        assert scan(data) == whole


def outcome(make: Callable[[], Document]) -> object:
    try:
        return make()
    except FormatError as error:
        return error.kind


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@settings(max_examples=200, deadline=None)
@example({"x": nested(98), "text": "a"})
@example({"x": nested(99), "text": "a"})
@example({"x": nested(100), "text": "a"})
@given(st.dictionaries(KEYS | st.sampled_from(["id", "mentions"]), JSON, max_size=5))
def test_an_object_is_the_document_that_its_line_is(record: dict[str, object]) -> None:
    record = {"document_id": "7"} | record
    assert outcome(lambda: made(record)) == outcome(lambda: parse(record))

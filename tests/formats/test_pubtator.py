"""PubTator: where documents begin, what their lines say, and how real files are off."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.formats import json_lines, line_record, pubtator
from taiyi_ray.formats.format import RawRecord
from taiyi_ray.records import (
    Annotations,
    Concept,
    Document,
    Mention,
    Passage,
    Relation,
    Span,
    passages,
)
from tests.formats.annotated import check_contracts, read

TITLE = "TNF and 肿瘤 in 🧬 mice."
ABSTRACT = "Tnf binds TNFR1."


def file_of(*lines: str, id_: str = "7") -> str:
    return "\n".join([f"{id_}|t|{TITLE}", f"{id_}|a|{ABSTRACT}", *lines]) + "\n"


def line(start: int, end: int, text: str, *columns: str, id_: str = "7") -> str:
    return "\t".join([id_, str(start), str(end), text, *columns])


def only(data: str) -> Document:
    (document,) = read(pubtator.FORMAT, data)
    check_contracts(document)
    return document


def test_a_document_with_mentions_and_a_relation() -> None:
    abstract = len(TITLE) + 1
    document = only(
        file_of(
            line(0, 3, "TNF", "Gene", "7124"),
            line(abstract, abstract + 3, "Tnf", "Gene", "NCBI Gene:7124", "ignored"),
            line(8, 10, "肿瘤", "Disease", "-1"),
            line(abstract + 10, abstract + 15, "TNFR1", "Gene"),
            "7\tBind\t7124\t7132\tNovel",
            "7\tBind\t7124\t7124",
        )
    )
    assert document.title == TITLE
    assert document.passages == [
        Passage("title", "en", 0, TITLE),
        Passage("abstract", "en", abstract, ABSTRACT),
    ]
    assert [(m.type, m.text, m.start, m.concept) for m in document.gold.mentions] == [
        ("Gene", "TNF", 0, Concept("", "7124")),
        ("Gene", "Tnf", abstract, Concept("NCBI Gene", "7124")),
        ("Disease", "肿瘤", 8, None),
        ("Gene", "TNFR1", abstract + 10, None),
    ]
    assert document.gold.relations == [
        Relation(0, "Bind", "TNF", "7132", [0, 1], []),
        Relation(1, "Bind", "TNF", "TNF", [0, 1], [0, 1]),
    ]
    assert [error.kind for error in document.errors] == ["gold_reference"]
    assert document.status == "ok"


@pytest.mark.parametrize(
    ("start", "end", "said", "found"),
    [
        (0, 2, "TNF", (0, 3)),  # up to the last character
        (1, 4, "TNF", (0, 3)),  # one off
        (6, 9, "TNF", (0, 3)),  # six off: the text changed behind it
        (0, 5, "TNF  ", (0, 3)),  # blanks that are not there
        (24, 28, "mice", (16, 20)),  # in bytes
        (15 + 2, 19 + 2, "mice", (16, 20)),  # in units of UTF-16
        (27, 30, "Tnf", (22, 25)),  # near by
    ],
)
def test_places_by_other_ways_to_count_are_found(start, end, said, found) -> None:
    document = only(file_of(line(start, end, said, "X")))
    (mention,) = document.gold.mentions
    assert ((mention.start, mention.end), mention.text) == (found, said.strip())
    assert [error.kind for error in document.errors] == ["gold_moved"]


def test_a_text_that_differs_in_case_is_that_of_the_document() -> None:
    (mention,) = only(file_of(line(0, 3, "tnf", "X"))).gold.mentions
    assert (mention.text, mention.grounded, mention.start) == ("TNF", "folded", 0)


@pytest.mark.parametrize("place", [(0, 3), (5000, 5003), (3, 1), (0, 0)])
def test_what_stands_nowhere_is_kept_without_a_place(place) -> None:
    document = only(file_of(line(*place, "insulin", "X", "D1")))
    (mention,) = document.gold.mentions
    assert (mention.text, mention.start, mention.grounded) == ("insulin", None, "none")
    assert (document.status, document.errors[0].kind) == ("ok", "gold_offsets")
    assert "'insulin' at" in document.errors[0].message


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (("-1", "3"), "'-1' to '3'"),
        (("", ""), "nothing to nothing"),
        ((" ", "3"), "' ' to '3'"),
        (("0.5", "3"), "'0.5' to '3'"),
        (("nan", "nan"), "'nan' to 'nan'"),
        (("0", "x"), "'0' to 'x'"),
        (("0", "9" * 5000), "'0' to '999"),
    ],
)
def test_a_place_that_is_none_costs_the_mention_its_place_alone(place, told) -> None:
    document = only(file_of("\t".join(["7", *place, "TNF", "Gene", "7124"]), "7\tr\t7124\t7124"))
    (mention,) = document.gold.mentions
    assert (mention.text, mention.type, mention.start) == ("TNF", "Gene", None)
    assert [(r.type, r.head, r.tail) for r in document.gold.relations] == [("r", [0], [0])]
    (error,) = document.errors
    assert error.kind == "gold_offsets"
    assert f"'TNF' at {told}" in error.message


def test_offsets_that_a_table_made_fractions_of_are_read() -> None:
    (mention,) = only(file_of("7\t0.0\t3.0\tTNF\tGene")).gold.mentions
    assert (mention.start, mention.end) == (0, 3)


@pytest.mark.parametrize("type_", ["", " ", "5", "-1", "nan", " r"])
def test_a_relation_whose_type_could_be_an_offset_is_written_as_another(type_) -> None:
    document = Document("7", passages([("title", "en", "TNF")]), title="TNF")
    concept = Concept("", "7124")
    found = Annotations(
        [Mention(0, "Gene", "TNF", 0, 3, passage=0, concept=concept)],
        [Relation(0, type_, "TNF", "TNF", [0], [0])],
    )
    written = pubtator.write(document, found)
    assert written.lost == {"types: another spelling": 1}
    (back,) = read(pubtator.FORMAT, written.parts[".pubtator"])
    assert [(r.type.strip("_"), r.head) for r in back.gold.relations] == [(type_.strip(), [0])]
    assert len(back.gold.mentions) == 1


def test_an_empty_title_and_a_missing_abstract() -> None:
    first, second = read(pubtator.FORMAT, f"1|t|\n1|a|TNF binds\n1\t1\t4\tTNF\tX\n2|t|{TITLE}\n")
    assert [(p.type, p.offset) for p in first.passages] == [("abstract", 0)]
    assert (first.gold.mentions[0].start, first.errors, first.title) == (0, [], None)
    assert [p.type for p in second.passages] == ["title"]


@pytest.mark.parametrize("between", ["\n", "", "\n\n \n"])
def test_documents_with_and_without_blank_lines_between(between: str) -> None:
    data = f"\ufeff\n{file_of(id_='1')}{between}{file_of(id_='1')}{between}{file_of(id_='x-2')}"
    assert [d.document_id for d in read(pubtator.FORMAT, data)] == ["1", "1", "x-2"]
    crlf = [d.text for d in read(pubtator.FORMAT, data.replace("\n", "\r\n"))]
    assert crlf == [f"{TITLE}\n{ABSTRACT}"] * 3


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        ("no\tpubtator\n1|t|x\n", ["malformed", None]),
        ("1|t|x\n1|a|y\n1|a|z\n", ["malformed"]),
        ("1|t|x\n1|b|y\n2|t|z\n", ["malformed", None]),
    ],
)
def test_broken_files(data: str, kinds: list[str | None]) -> None:
    found = read(pubtator.FORMAT, data)
    assert [d.errors[0].kind if d.status == "failed" else None for d in found] == kinds


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_with_byte_order_marks_are_read_also_where_several_were_made_one(encoding) -> None:
    two = file_of(line(0, 3, "TNF", "X")) + "\ufeff" + file_of(line(0, 3, "TNF", "X"))
    found = read(pubtator.FORMAT, two.encode(encoding))
    assert [(d.document_id, d.text) for d in found] == [("7", f"{TITLE}\n{ABSTRACT}")] * 2
    assert [len(d.gold.mentions) for d in found] == [1, 1]
    assert not any(d.errors for d in found)


def test_bytes_that_are_no_text_fail_their_document_alone() -> None:
    bad, good = read(pubtator.FORMAT, b"1|t|\xff\n1|a|x\n2|t|y\n")
    assert (bad.status, bad.errors[0].kind, good.text) == ("failed", "encoding", "y")


def test_lines_of_no_meaning_are_counted() -> None:
    document = only(file_of("7\tonly three\tcolumns", line(0, 3, "TNF", "X", id_="8"), "text"))
    (failure,) = document.errors
    assert (failure.kind, failure.message) == (
        "gold_left_out",
        "3 lines that are not of the format",
    )


def test_a_document_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (line_record, json_lines):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 100)
    rows = [line(0, 3, "TNF", "X")] * 20
    found = read(pubtator.FORMAT, file_of(*rows) + "8|t|x\n9|t|" + "y" * 200 + "\n10|t|z\n")
    kinds = [d.errors[0].kind if d.errors else d.document_id for d in found]
    assert kinds[:2] == ["too_large", "8"]
    assert kinds[-1] == "10"


def test_writing() -> None:
    text = "Title\nA\nB\tC"
    document = Document(
        "a|b", passages([("title", "en", "Title"), ("x", "en", "A"), ("y", "en", "B\tC")])
    )
    found = Annotations(
        [
            Mention(0, "g", text[0:5], 0, 5, concept=Concept("MESH", "D1")),
            Mention(1, "g", "B\tC", 8, 11, concept=Concept("MESH", "D2", "name")),
            Mention(2, None, "A C", 6, 11, [Span(6, 7), Span(10, 11)]),
            Mention(3, "g", "gone", None, None, grounded="none"),
        ],
        [
            Relation(0, "r", "Title", "B\tC", [0], [1]),
            Relation(1, "r", "Title", "A C", [0], [2]),
        ],
    )
    written = pubtator.write(document, found)
    assert written.parts[".pubtator"].decode().split("\n") == [
        "a_b|t|Title",
        "a_b|a|A B C",
        "a_b\t0\t5\tTitle\tg\tMESH:D1",
        "a_b\t8\t11\tB C\tg\tMESH:D2",
        "a_b\t6\t11\tA B C\t\t-",
        "a_b\tr\tMESH:D1\tMESH:D2",
        "",
        "",
    ]
    assert written.lost == {
        "documents: other passages, line breaks or ids": 1,
        "mentions without offsets: left out": 1,
        "discontinuous mentions: written as one range": 1,
        "concepts: name and score left out, or another spelling": 1,
        "relations of mentions without a concept: left out": 1,
    }


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["1|t|x", "1|a|y", "2|a|z", "1\t0\t1\tx\tT", "", "\t", "🧬\r"])),
    st.integers(1, 6),
)
def test_any_lines_in_any_chunks(lines: list[str], chunk: int) -> None:
    data = "\n".join(lines).encode()

    def scan() -> list[RawRecord]:
        return list(pubtator.scan(io.BytesIO(data)))

    whole = scan()
    assert len(read(pubtator.FORMAT, data)) == len(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "_CHUNK", chunk)
        assert scan() == whole

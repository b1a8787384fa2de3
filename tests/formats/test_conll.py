"""CoNLL read and written: tags, columns, how tokens are joined, what is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from taiyi_ray.formats import json_lines, line_record, named
from taiyi_ray.records import Annotations, Concept, Document, Mention, Span, passages
from tests.formats.annotated import annotated, check_contracts, read, read_back, written

CONLL = named("conll")


def one(data: str, **options: object) -> Document:
    (document,) = read(named("conll", options), data, "a.tsv")
    check_contracts(document)
    return document


def found(document: Document) -> list[tuple[str | None, str, int | None]]:
    return [(m.type, m.text, m.start) for m in document.gold.mentions]


def test_tokens_are_joined_by_blanks_and_sentences_by_line_feeds() -> None:
    document = one("Ocular\tB-Disease\nmyasthenia\tI-Disease\n.\tO\n\n\nIt\tO\nends\tO\n")
    assert document.text == "Ocular myasthenia .\nIt ends"
    assert [(p.type, p.language) for p in document.passages] == [("text", "en")]
    assert found(document) == [("Disease", "Ocular myasthenia", 0)]
    assert document.errors == []


@pytest.mark.parametrize(
    ("blanks", "expected"),
    [
        ("every", "beta - blocker ( 5 % ) , x / y ."),
        ("tidy", "beta-blocker (5%), x/y."),
        ("none", "beta-blocker(5%),x/y."),
    ],
)
def test_where_blanks_stand_is_an_option(blanks: str, expected: str) -> None:
    tokens = ["beta", "-", "blocker", "(", "5", "%", ")", ",", "x", "/", "y", "."]
    tags = ["B-Drug", "I-Drug", "I-Drug", *["O"] * 9]
    rows = [f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)]
    document = one("".join(rows), blanks=blanks)
    assert document.text == expected
    length = expected.index("r") + 1
    assert found(document) == [("Drug", expected[:length], 0)]


def test_chinese_characters_are_joined_without_blanks() -> None:
    document = one("头\tB-sym\n疼\tI-sym\n。\tO\n", blanks="none")
    assert (document.text, found(document)) == ("头疼。", [("sym", "头疼", 0)])
    assert document.passages[0].language == "zh"


@pytest.mark.parametrize(
    ("scheme", "tags", "expected", "odd"),
    [
        ("iob2", "B-X I-X O B-X B-X", ["a b", "d", "e"], 0),
        ("iob2", "I-X I-X O I-Y B-X", ["a b", "d", "e"], 2),
        ("iob2", "B-X I-Y O O O", ["a", "b"], 1),
        ("iob1", "I-X I-X O I-X B-X", ["a b", "d", "e"], 0),
        ("iob1", "I-X I-Y O O O", ["a", "b"], 0),
        ("iobes", "B-X E-X O S-X S-X", ["a b", "d", "e"], 0),
        ("iobes", "B-X L-X O U-X W-Y", ["a b", "d", "e"], 0),
        ("iobes", "B-X M-X E-X E-X O", ["a b c", "d"], 1),
        ("iob2", "B I O O O", ["a b"], 0),
    ],
)
def test_what_tags_say(scheme: str, tags: str, expected: list[str], odd: int) -> None:
    rows = [f"{token} {tag}\n" for token, tag in zip("abcde", tags.split(), strict=True)]
    document = one("".join(rows), scheme=scheme)
    assert [m.text for m in document.gold.mentions] == expected
    counted = [e.message.split()[0] for e in document.errors if e.kind == "gold_tags"]
    assert counted == ([str(odd)] if odd else [])


def test_a_type_may_hold_hyphens_and_a_tag_may_have_none() -> None:
    document = one("a\tB-Multi-tissue_structure\nb\tB\n")
    assert found(document) == [("Multi-tissue_structure", "a", 0), (None, "b", 2)]


def test_several_columns_of_tags_are_layers_of_nested_mentions() -> None:
    rows = "lung\tNN\tB-dis\tB-bod\ncancer\tNN\tI-dis\tO\n"
    document = one(rows, columns=["token", "-", "tag", "tag"])
    assert sorted(found(document), key=str) == [("bod", "lung", 0), ("dis", "lung cancer", 0)]


def test_columns_of_offsets_tell_where_the_blanks_were() -> None:
    rows = "B-X\t10\t13\tTNF\nI-X\t13\t14\t-\nI-X\t14\t15\ta\n\nO\t17\t19\tin\n"
    document = one(rows, columns=["tag", "start", "-", "token"])
    assert document.text == "TNF-a\n in"
    assert found(document) == [("X", "TNF-a", 0)]


def test_a_mark_begins_a_document_and_may_name_it() -> None:
    data = "-DOCSTART- (12 x)\tO\n\na\tO\n\nb\tO\n-DOCSTART-\tO\n\n-DOCSTART- -X- -X- O\nc\tB-X\n"
    documents = read(CONLL, data, "f.tsv")
    assert [(d.document_id, d.text) for d in documents] == [("12 x", "a\nb"), ("f", ""), ("f", "c")]


def test_another_mark_and_its_id() -> None:
    document = one("###MEDLINE:95369245\n\na\tO\n", mark="###MEDLINE")
    assert (document.document_id, document.text) == ("95369245", "a")


def test_a_sentence_may_be_the_record() -> None:
    data = "-DOCSTART-\tO\n\na\tO\n\nb\tB-X\n-DOCSTART-\tO\nc\tO\n"
    documents = read(named("conll", {"record": "sentence"}), data, "f.tsv")
    assert [d.text for d in documents] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("data", "options", "kind", "message"),
    [
        ("", {}, "empty", "the file is empty"),
        (" \n\n", {}, "empty", "the file is empty"),
        ("a\tb\tO\n", {}, "malformed", "line 1: 3 columns, expected token, tag"),
        ("a\n", {}, "malformed", "line 1: 1 columns"),
        ("a\tO\nb\tX-\n", {}, "malformed", "line 2: 'X-' is no tag of iob2"),
        ("a\tE-X\n", {}, "malformed", "line 1: 'E-X' is no tag of iob2"),
        (" \tO\n", {}, "malformed", "line 1: no token"),
        (b"\xff\tO\n", {}, "encoding", "not valid UTF-8"),
        (
            "a\tO\tx\t0\n",
            {"columns": ["token", "tag", "start", "-"]},
            "malformed",
            "the start is no whole",
        ),
        (
            "a\tO\t5\t6\nb\tO\t5\t6\n",
            {"columns": ["token", "tag", "start", "-"]},
            "malformed",
            "'b' at 5: no text comes to this place",
        ),
        (
            "a\tO\t0\t1\nb\tO\t15\t16\nc\tO\t30\t31\nd\tO\t99\t1\n",
            {"columns": ["token", "tag", "start", "-"]},
            "malformed",
            "no text comes to this place",
        ),
    ],
)
def test_a_broken_record_says_why(
    data: str, options: dict[str, object], kind: str, message: str
) -> None:
    (document,) = read(named("conll", options), data, "a.tsv")
    (error,) = document.errors
    assert (document.status, error.kind) == ("failed", kind)
    assert message in error.message


def test_a_broken_document_leaves_the_others() -> None:
    documents = read(CONLL, "-DOCSTART-\na\n-DOCSTART- (2)\nb\tO\n", "a.tsv")
    assert [d.status for d in documents] == ["failed", "ok"]
    assert documents[1].document_id == "2"


def test_a_document_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (line_record, json_lines):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 100)
    data = "-DOCSTART- (1)\n" + "ab\tO\n" * 30 + "-DOCSTART- (2)\nb\tO\n" + "x" * 200 + "\tO\n"
    documents = read(CONLL, data + "-DOCSTART- (3)\nc\tO\n", "a.tsv")
    kinds = [d.errors[0].kind if d.errors else d.document_id for d in documents]
    assert kinds == ["too_large", "too_large", "3"]


# --------------------------------------------------------------------------------------- writing


def document_with(text: str, *mentions: tuple[int, int, str]) -> tuple[Document, Annotations]:
    made = [
        Mention(number, type_, text[start:end], start, end, passage=0)
        for number, (start, end, type_) in enumerate(mentions)
    ]
    return Document("12", passages([("text", "en", text)])), Annotations(made)


def test_writing() -> None:
    document, annotations = document_with(
        "TNF-alpha (5%) 头疼。\nIt é.", (0, 9, "a gene"), (15, 17, "sym")
    )
    files, lost = written(CONLL, [(document, annotations)])
    assert files[".conll"].decode() == (
        "-DOCSTART- (12)\tO\n\n"
        "TNF\tB-a_gene\n-\tI-a_gene\nalpha\tI-a_gene\n(\tO\n5\tO\n%\tO\n)\tO\n"
        "头\tB-sym\n疼\tI-sym\n。\tO\n\n"
        "It\tO\né\tO\n.\tO\n\n"
    )
    assert lost == {
        "documents: other blanks between tokens": 1,
        "types: another spelling": 1,
    }


def test_a_mention_divides_words_and_joins_lines() -> None:
    document, annotations = document_with("unhappy and\nsad", (2, 7, "x"), (8, 15, "y"))
    files, _ = written(CONLL, [(document, annotations)])
    assert files[".conll"].decode().split("\n")[2:-2] == [
        "un\tO", "happy\tB-x", "and\tB-y", "sad\tI-y",
    ]  # fmt: skip


def test_a_document_whose_tokens_have_blanks_between_them_loses_nothing() -> None:
    document, annotations = document_with("Patients with TNF .\n头 疼", (14, 17, "gene"))
    document.document_id = "PMC (1) x"
    _, lost = written(CONLL, [(document, annotations)])
    assert lost == {}
    back = read_back(CONLL, document, annotations)
    assert (back.document_id, back.text) == (document.document_id, document.text)
    assert found(back) == [("gene", "TNF", 14)]


def test_what_one_column_of_tags_cannot_hold_is_counted() -> None:
    text = "lung cancer cells \ufeff"
    document, annotations = document_with(text, (0, 11, "dis"), (0, 4, "bod"), (5, 17, "cell"))
    annotations.mentions += [
        Mention(3, "x", "lung cells", 0, 17, [Span(0, 4), Span(12, 17)]),
        Mention(4, "x", "gone", None, None, grounded="none"),
    ]
    annotations.mentions[0].concept = Concept("MESH", "D1")
    annotations.mentions[0].score = 0.5
    files, lost = written(CONLL, [(document, annotations)])
    assert "cancer\tI-dis\ncells\tO" in files[".conll"].decode()
    assert lost == {
        "documents: characters changed": 1,
        "mentions: discontinuous or without a place, left out": 2,
        "mentions: inside or over another, left out": 2,
        "concepts: left out": 1,
        "scores: left out": 1,
    }


@settings(max_examples=100, deadline=None)
@given(one=annotated())
def test_tokens_and_mentions_that_are_written_are_read(one: tuple[Document, Annotations]) -> None:
    document, annotations = one
    back = read_back(CONLL, document, annotations)
    assert (back.status, back.errors) == ("ok", [])
    check_contracts(back)
    assert "".join(back.text.split()) == "".join(document.text.split())
    _, lost = written(CONLL, [one])
    left_out = sum(n for what, n in lost.items() if what.startswith("mentions"))
    assert len(back.gold.mentions) == len(annotations.mentions) - left_out
    texts = {"".join(m.text.split()) for m in annotations.mentions}
    assert {"".join(m.text.split()) for m in back.gold.mentions} <= texts

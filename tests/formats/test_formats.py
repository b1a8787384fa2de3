"""What holds of every format: contracts, round trips, what a file is by its first bytes."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taiyi_ray.errors import ConfigError, StorageGone
from taiyi_ray.formats import (
    FORMATS,
    NAMED,
    beside,
    documents,
    format_of,
    markdown,
    markdown_of_named,
    named,
    raw_records,
    recognised,
    version_of,
)
from taiyi_ray.formats.format import Format
from taiyi_ray.records import LONGEST_MESSAGE, Annotations, Document, Mention, passages
from tests.formats import by_name
from tests.formats.annotated import (
    annotated,
    check_contracts,
    comparable,
    read,
    read_back,
    written,
)

WRITTEN = [format_ for format_ in FORMATS if format_.writer]
WHOLE = [named("bioc-xml"), named("bioc-json"), named("jsonl")]
LETTERS = st.sampled_from(list("abcd  βé中🧬."))


TEXTS_BY_NAME = [name for name in by_name.SAMPLES if name != "xlsx"]


def name_of(format_: Format) -> str:
    return format_.name


def test_each_format_that_is_chosen_by_name_has_a_sample_that_is_read():
    assert {sample.format for sample in by_name.SAMPLES.values()} == {f.name for f in NAMED}
    for name, sample in by_name.SAMPLES.items():
        found = sample.read()
        assert found and all((d.status, d.errors) == ("ok", []) for d in found), name
        for document in found:
            check_contracts(document)


@pytest.mark.parametrize("format_", WRITTEN, ids=name_of)
@settings(max_examples=150, deadline=None)
@given(one=annotated() | annotated(LETTERS))
def test_what_is_written_reads_back_equal_unless_a_loss_is_counted(format_, one):
    document, annotations = one
    _, lost = written(format_, [one])
    back = read_back(format_, document, annotations)
    assert back.status == "ok"
    check_contracts(back)
    assert back.text.split() == document.text.replace("\x0b", "\ufffd").split() or (
        "\x0b" in document.text
    )
    if not lost:
        assert back.errors == []
        assert comparable(back.gold) == comparable(annotations)


@pytest.mark.parametrize("format_", WRITTEN, ids=name_of)
@pytest.mark.parametrize("gap", ["\n", " \n  "], ids=["line feed", "blanks around it"])
def test_a_mention_that_goes_on_in_the_next_line_is_written_and_read_at_its_place(format_, gap):
    text = f"Patients with breast{gap}cancer had pain."
    document = Document("d", passages([("abstract", "en", text)]))
    start, end = text.index("breast"), text.index(" had")
    mention = Mention(0, "disease", text[start:end], start, end, passage=0)
    back = read_back(format_, document, Annotations([mention]))
    (found,) = back.gold.mentions
    assert (found.start, found.end, found.grounded, found.spans) == (start, end, "exact", [])
    assert found.text == back.text[start:end]
    assert found.text.split() == ["breast", "cancer"]
    assert back.errors == []


@pytest.mark.parametrize("format_", WHOLE, ids=name_of)
@settings(max_examples=150, deadline=None)
@given(one=annotated())
def test_bioc_and_json_lines_lose_nothing(format_, one):
    document, annotations = one
    back = read_back(format_, document, annotations)
    if "\x0b" in document.text and format_.name == "bioc-xml":
        return
    assert back.gold == annotations
    assert back.passages == document.passages
    assert back.errors == []


@pytest.mark.parametrize("format_", [f for f in WRITTEN if not f.writer.apart], ids=name_of)
@settings(max_examples=20, deadline=None)
@given(several=st.lists(annotated(LETTERS), min_size=1, max_size=4))
def test_several_documents_are_one_file(format_, several):
    for number, (document, _) in enumerate(several):
        document.document_id = f"d{number}"
    files, _ = written(format_, several)
    (data,) = files.values()
    ending = format_.writer.endings[-1]
    assert recognised(f"a{ending}", io.BytesIO(data)) is format_
    back = read(format_, data)
    assert [d.document_id for d in back] == [f"d{n}" for n in range(len(several))]


@pytest.mark.parametrize("format_", FORMATS, ids=name_of)
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60))
@example(data=b"")
@example(data=b"1|t|a\n1|a|b\n1\t0\t1\ta\n1\t0\t99999999999999999999\ta\tX\n")
@example(data=b"T1\tX 0 1\ta\nE1\tY:T9 Theme:E1\nR1\tZ Arg1:T1 Arg2:T1\n*\tEquiv T1 T7\nN1\tx T1\n")
@example(data=b'{"documents": [1, {"id": "1"}, {"id": "1", "passages": [{}]}]}')
@example(data=b"<collection><document/><document><id>1</id><passage/></document></collection>")
@example(data=b"<article><front><article-meta/></front><body><p>a<fig/></p></body></article>")
def test_any_bytes_are_documents_or_failed_ones(format_, data):
    files = {ending.removeprefix("."): data for ending in (".txt", ".a2")}
    for document in read(format_, data, **files):
        assert document.status in ("ok", "deleted", "failed")
        assert document.errors or document.status != "failed"
        check_contracts(document)


@pytest.mark.parametrize("name", by_name.SAMPLES)
@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=60))
@example(data=b"")
@example(data=b"[")
@example(data=b'{"questions": [1, {"body": []}], "x": {}}')
@example(data=b'[{"text": "a"}, {"text": 1}, [], {"text": "", "entities": [{}]}]')
@example(data=b'{"a": {"text": {}}, "b": 1, "text": "x"}')
@example(data=b"<document/><annotations/>")
@example(data=b"a\tB-x\nb\tX\n-DOCSTART-\n\nc\n")
def test_any_bytes_read_by_name_are_documents_or_failed_ones(name, data):
    for document in by_name.SAMPLES[name].read(data):
        assert document.status in ("ok", "failed")
        assert document.errors or document.status != "failed"
        assert all(error.kind != "unreadable" for error in document.errors), document.errors
        check_contracts(document)


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._most if size is None or size < 0 else min(size, self._most))


SAMPLES = {
    "pubmed": "<PubmedArticleSet><PubmedArticle>é</PubmedArticle></PubmedArticleSet>",
    "jats": "<!DOCTYPE article SYSTEM 'x'><article a='>'>é</article>",
    "bioc-xml": "<collection><document>1é</document><!-- <document> --><document/></collection>",
    "bioc-json": '{"key": "é", "documents": [{"id": "1", "x": [1, {"y": null}]}, 2], "z": {}}',
    "pubtator": "\ufeff\n1|t|é\n1|a|b\r\n\n1\t0\t1\té\tX\n2|t|x",
    "brat": "T1\tX 0 1\té\n",
    "jsonl": '{"document_id": "é", "text": "x"}\n\n{}\n',
    "text": "é 🧬",
}


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), chunk=st.integers(1, 9))
def test_any_chunking_finds_the_same_records(name, data, chunk):
    whole = SAMPLES[name].encode()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    scan = named(name).scan
    expected = list(scan(io.BytesIO(whole)))
    assert list(scan(Trickle(whole, chunk))) == expected
    assert not any(record.fault for record in expected)
    assert list(scan(Trickle(cut, chunk))) == list(scan(io.BytesIO(cut)))


@pytest.mark.parametrize("name", by_name.SAMPLES)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), chunk=st.integers(1, 9))
def test_any_chunking_finds_the_same_records_by_name(name, data, chunk):
    sample = by_name.SAMPLES[name]
    whole, scan = sample.data, sample.bound.scan
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    expected = list(scan(io.BytesIO(whole)))
    assert list(scan(Trickle(whole, chunk * 50 if name == "xlsx" else chunk))) == expected
    assert not any(record.fault for record in expected)
    if name != "xlsx":
        assert list(scan(Trickle(cut, chunk))) == list(scan(io.BytesIO(cut)))


@pytest.mark.parametrize("name", TEXTS_BY_NAME)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_changes_nothing_by_name(name, encoding):
    sample = by_name.SAMPLES[name]
    assert sample.read(sample.data.decode().encode(encoding)) == sample.read()


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_byte_order_mark_changes_nothing(name, encoding, zipped):
    format_ = named(name)
    path = f"a{format_.suffixes[0]}{'.gz' if zipped else ''}"
    text = SAMPLES[name].removeprefix("\ufeff")
    found = []
    for written_in in ("utf-8", encoding):
        data = text.encode(written_in)
        data = gzip.compress(data) if zipped else data
        documents = read(format_, data, path, txt="é".encode(written_in))
        found.append((recognised(path, io.BytesIO(data)), documents))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.xml", "<PubmedArticleSet>", "pubmed"),
        (
            "a.xml",
            '<?xml version="1.0"?>\n<!DOCTYPE collection SYSTEM "x">\n<collection>',
            "bioc-xml",
        ),
        ("a.XML.gz", "<!-- c --><article xmlns:x='y' article-type='z'>", "jats"),
        ("a.xml", "<pmc-articleset><article>", "jats"),
        ("a.nxml", "anything", "jats"),
        ("a.xml", "<html>", "pubmed"),
        ("a.json", "{", "bioc-json"),
        ("a.txt", "\n12|t|Title\n12|a|Abstract", "pubtator"),
        ("CDR.PubTator.txt.gz", "\ufeff12|t|Title", "pubtator"),
        ("a.txt", "12|a|Abstract", "text"),
        ("a.txt", "Some text |t| more", "text"),
        ("a.txt", "", "text"),
        ("a.PubTator", "", "pubtator"),
        ("a.ann", "", "brat"),
        ("a.a1", "", "brat"),
        ("a.parquet", "", "parquet"),
        ("a.jsonl", "", "jsonl"),
    ],
)
def test_the_first_bytes_tell_formats_of_one_ending_apart(name, head, expected):
    data = head.encode()
    stream = io.BytesIO(gzip.compress(data) if name.endswith(".gz") else data)
    found = recognised(name, stream)
    assert found is not None and found.name == expected
    assert stream.tell() == 0


def test_what_no_format_has_the_ending_of_is_of_none():
    assert recognised("a.md", io.BytesIO(b"12|t|x")) is format_of("a.md") is None


def test_files_that_belong_to_others():
    assert beside("x/a.ann") == {"x/a.txt"}
    assert beside("x/a.A1.gz") == {"x/a.txt", "x/a.txt.gz", "x/a.a2", "x/a.a2.gz"}
    assert beside("a.txt") == beside("a.xml") == set()


def test_an_unknown_name_is_answered_with_the_nearest():
    assert named("brat").name == "brat"
    with pytest.raises(ConfigError, match=r"unknown format 'bioc_xml'; did you mean 'bioc-xml'\?"):
        named("bioc_xml")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("brat", {"text": "x"}, "format brat: takes no options, got text"),
        (
            "conll",
            {"colums": []},
            "format conll: unknown setting 'colums'; did you mean 'columns'?",
        ),
        ("conll", {"columns": ["tag"]}, "format conll: columns: expected one token"),
        ("conll", {"scheme": "bio"}, "format conll: scheme: Input should be 'iob2'"),
        ("cblue", {}, "format cblue: form is missing"),
        ("delimited", {"fields": {}}, "format delimited: fields: expected one at least of title"),
        ("delimited", {"fields": {"txt": "a"}}, "format delimited: fields.txt"),
        ("json", {"fields": {"text": "a", "start": "b"}}, "belong to a mention, which is missing"),
        ("json", {"fields": {"text": "a", "relation": "b"}}, "a relation wants marks"),
        ("json", {"fields": {"text": "a"}, "layout": "lines", "merge": True}, "merge: joins lines"),
        ("cblue", {"form": "pair", "layout": "lines", "path": ["a"]}, "path: leads to a list or"),
        (
            "parallel",
            {"ending": "en", "other": ".zh", "to": "zh"},
            "format parallel: ending: String",
        ),
    ],
)
def test_an_option_that_is_wrong_is_told_in_one_line(name, options, message):
    with pytest.raises(ConfigError) as raised:
        named(name, options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_format_chosen_by_name_is_never_recognised():
    for sample in by_name.SAMPLES.values():
        assert sample.bound.suffixes == ()
        assert recognised("a.x", io.BytesIO(sample.data)) is None


def test_a_document_without_an_id_has_the_name_of_its_file_also_by_name():
    (document,) = read(named("json", {"fields": {"text": "text"}}), '[{"text": "a"}]', "x/b.y.json")
    assert document.document_id == "b.y"


def test_a_bound_format_can_go_to_another_process():
    for sample in by_name.SAMPLES.values():
        there = pickle.loads(pickle.dumps(sample.bound))
        assert read(there, sample.data, sample.path, **sample.beside) == sample.read()


def test_a_file_beside_may_lie_in_another_folder():
    format_ = named("knowtator", {"texts": "../../articles/txt"})
    path = "s3://b/craft/coref/knowtator-2/11.xml.gz"
    assert beside(path, format_) == {
        "s3://b/craft/articles/txt/11.txt", "s3://b/craft/articles/txt/11.txt.gz",
    }  # fmt: skip
    assert beside("a/coref/11.xml", named("knowtator", {"texts": ".."})) == {"a/11.txt"}
    assert beside("coref/11.xml", named("knowtator", {"texts": ".."})) == {"11.txt"}


@pytest.mark.parametrize("format_", WRITTEN, ids=name_of)
def test_a_document_without_a_text_is_written_and_read(format_):
    back = read_back(format_, Document("1", passages([("title", "en", "")])), Annotations())
    assert (back.passages, back.gold, back.errors) == ([], Annotations(), [])


def fail(*_: object) -> NoReturn:
    raise ZeroDivisionError("x" * 5000)


def test_an_error_that_nobody_expects_is_a_failed_row_and_is_logged_once(caplog):
    jsonl = named("jsonl")
    parsing = replace(jsonl, name="parsing", parse=fail)
    found = read(parsing, '{"document_id": "1", "text": "x"}\n' * 3)
    assert [d.status for d in found] == ["failed"] * 3
    assert {(d.errors[0].kind, d.errors[0].where) for d in found} == {
        ("unreadable", f"a.jsonl, record {n}") for n in range(3)
    }
    assert found[0].errors[0].message.startswith("ZeroDivisionError: xxx")
    assert len(found[0].errors[0].message) == LONGEST_MESSAGE

    def scan(stream):
        yield from islice(jsonl.scan(stream), 2)
        fail()

    scanning = replace(jsonl, name="scanning", scan=scan)
    found = read(scanning, '{"document_id": "1", "text": "x"}\n' * 3)
    assert [d.errors[0].kind if d.errors else d.status for d in found] == [
        *("ok", "ok", "unreadable")
    ]
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2
    assert all("ZeroDivisionError" in text and "in fail" in text for text in logged)


@pytest.mark.parametrize("error", [StorageGone("gone"), OSError(5, "disk"), MemoryError()])
def test_what_the_place_cannot_give_is_no_record(error):
    class Gone(io.BytesIO):
        def read(self, *_):
            raise error

    every = [(format_, f"a{format_.suffixes[0]}") for format_ in FORMATS]
    every += [(sample.bound, sample.path) for sample in by_name.SAMPLES.values()]
    for format_, path in every:
        with pytest.raises(type(error)):
            list(raw_records(Gone(b"x" * 100), path, format_))


def test_a_name_of_a_language_is_no_longer_than_a_tag():
    text = {"text": "a"}
    line = {"document_id": "1", "language": "x" * 100_000, "passages": [text] * 3}
    (document,) = read(named("jsonl"), json.dumps(line))
    assert {passage.language for passage in document.passages} == {"x" * 35}


@pytest.mark.parametrize("ending", ["txt", "txt.gz"])
def test_a_file_beside_is_bounded_as_any_other(ending):
    packed = gzip.compress(bytes(17 << 20)) if ending == "txt.gz" else bytes(17 << 20)
    name = "a.ann.gz" if ending == "txt.gz" else "a.ann"
    data = gzip.compress(b"T1\tX 0 1\ta\n") if ending == "txt.gz" else b"T1\tX 0 1\ta\n"
    (document,) = documents(
        io.BytesIO(data), name, named("brat"), "s", 0, 9, read={f"a.{ending}": packed}.get
    )
    assert (document.status, document.errors[0].kind) == ("failed", "too_large")


def test_mentions_that_say_no_text_are_not_the_whole_text_each():
    whole = {"id": 0, "type": "x", "text": None, "start": 0, "end": 1 << 16}
    line = {"document_id": "1", "text": "a" * (1 << 16), "mentions": [whole] * 1000}
    (document,) = read(named("jsonl"), json.dumps(line))
    assert len(document.gold.mentions) == (16 << 20) // (1 << 16)
    assert "744 annotations without text" in document.errors[-1].message


def test_the_version_of_a_format_is_known_without_its_options():
    assert {version_of(format_.name) for format_ in (*NAMED, *FORMATS)} <= {1, 2, 3}
    assert version_of("cblue") == next(f.version for f in NAMED if f.name == "cblue")
    with pytest.raises(ConfigError, match="unknown format 'cblu'"):
        version_of("cblu")


def test_the_documentation_has_the_table_of_formats():
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert markdown() in text, "run `make docs`"
    assert markdown_of_named() in text, "run `make docs`"

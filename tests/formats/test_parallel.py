"""Parallel text: the same line of two files."""

from __future__ import annotations

from io import BytesIO

from taiyi_ray.formats import documents, named
from taiyi_ray.records import Document, Text
from tests.formats.annotated import read

OPTIONS = {"ending": ".en", "other": ".zh", "to": "zh"}


def both(one: str, other: str | None) -> list[Document]:
    beside = {} if other is None else {"zh": other.encode()}
    return read(named("parallel", OPTIONS), one, "a.en", **beside)


def test_each_line_has_the_same_line_of_the_other_file_as_its_translation() -> None:
    first, blank, last = both("One .\r\n\nTwo", "\ufeff一。\n \n二\n")
    assert (first.document_id, first.text, first.passages[0].language) == ("1", "One .", "en")
    assert first.gold.texts == [Text("mt:zh", "一。")]
    assert (blank.text, blank.gold.texts) == ("", [])
    assert (last.document_id, last.gold.texts) == ("3", [Text("mt:zh", "二")])


def test_a_file_with_fewer_lines_is_not_parallel() -> None:
    first, second = both("a\nb\n", "甲\n")
    assert first.status == "ok"
    assert second.errors[0].kind == "not_parallel"
    assert "line 2: the .zh file has 1 lines" in second.errors[0].message


def test_a_file_that_is_missing_and_one_that_is_empty() -> None:
    assert [d.errors[0].kind for d in both("a\n", None)] == ["no_translation"]
    assert [d.errors[0].kind for d in both("", "甲")] == ["empty"]


def test_endings_may_have_several_parts() -> None:
    format_ = named("parallel", {"ending": ".zh.txt", "other": ".en.txt", "to": "en"})
    files = {"x/train.en.txt": b"a\n"}
    (document,) = documents(
        BytesIO("甲\n".encode()), "x/train.zh.txt", format_, "s", 0, 9, read=files.get
    )
    assert document.gold.texts == [Text("mt:en", "a")]

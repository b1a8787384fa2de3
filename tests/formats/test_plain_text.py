"""Plain text: a file is a document, whatever its encoding."""

from __future__ import annotations

import codecs
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.formats import documents, format, format_of, plain_text
from taiyi_ray.records import Document, Passage


def read(data: bytes, path: str = "notes/a.b.txt") -> Document:
    (document,) = documents(io.BytesIO(data), path, plain_text.FORMAT, "a", 0, 1 << 40)
    return document


def test_a_file_is_one_document() -> None:
    document = read("First.\r\n\r\n🧬 second\rthird\n".encode())
    assert document.document_id == "a.b"
    assert document.passages == [Passage("text", "en", 0, "First.\n\n🧬 second\nthird\n")]
    assert (document.title, document.language, document.status) == (None, None, "ok")


@pytest.mark.parametrize("path", ["x/PMC1.txt", "PMC1.TXT.gz", "PMC1.txt.gz"])
def test_it_is_called_by_its_name(path: str) -> None:
    assert format_of(path) is plain_text.FORMAT
    data = gzip.compress(b"x") if path.endswith("gz") else b"x"
    assert read(data, path).document_id == "PMC1"


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030", "gbk"])
def test_encodings(codec: str) -> None:
    document = read("研究 BRCA1 基因突变。".encode(codec))
    assert document.passages == [Passage("text", "zh", 0, "研究 BRCA1 基因突变。")]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        (codecs.BOM_UTF16_LE, "empty"),
        (codecs.BOM_UTF32_BE, "empty"),
        ("caf\xe9".encode("latin-1"), "encoding"),
        (b"\x00\x01\x02", "encoding"),
        (codecs.BOM_UTF16_LE + b"x", "encoding"),
        (b"%PDF-1.4\xff\xff", "encoding"),
    ],
)
def test_broken_files(data: bytes, kind: str) -> None:
    document = read(data)
    assert (document.status, document.errors[0].kind, document.document_id) == (
        "failed",
        kind,
        None,
    )


def test_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "MAX_RECORD_BYTES", 10)
    assert read(b"x" * 10).text == "x" * 10
    assert read(b"x" * 11).errors[0].kind == "too_large"


def test_a_cut_gzip_file_is_no_document() -> None:
    assert read(gzip.compress(b"word " * 1000)[:-12], "a.txt.gz").errors[0].kind == "truncated"


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    read(data)

"""Tables: CSV, TSV and spreadsheets, a record a row."""

from __future__ import annotations

import io
import zipfile

import pytest

from taiyi_ray.formats import json_lines, line_record, named
from taiyi_ray.records import Document, Label
from tests.formats.annotated import read
from tests.formats.by_name import TABLE, sheet

TSV = {"delimiter": "\t", "quotes": False, "header": False, "fields": {"text": "2"}}


def table(data: str | bytes, **options: object) -> list[Document]:
    return read(named("delimited", {**TABLE, **options}), data, "a.csv")


def kinds(documents: list[Document]) -> list[str | None]:
    return [d.errors[0].kind if d.errors else d.document_id for d in documents]


def test_a_cell_in_quotes_holds_delimiters_line_breaks_and_quotes() -> None:
    data = '\ufeffID, text ,label,n\r\n\r\n1,"a, ""b""\r\nc",x,9\r\n2,d,y,\r\n'
    first, second = table(data)
    assert (first.document_id, first.text) == ("1", 'a, "b"\nc')
    assert first.gold.labels == [Label("tc", "x")]
    assert first.metadata == {"n": "9"}
    assert (second.document_id, second.text, second.metadata) == ("2", "d", {})


def test_a_table_without_header_has_numbered_columns_and_quotes_may_be_signs() -> None:
    options = {**TSV, "labels": {"tc": "1"}}
    first, second = read(named("delimited", options), 'x\t "a"\r\ny\tb"\n', "a.tsv")
    assert [d.text for d in (first, second)] == [' "a"', 'b"']
    assert second.gold.labels == [Label("tc", "y")]


def test_rows_that_do_not_fit_fail_alone() -> None:
    documents = table('ID,text,label\n1,a,x\n2,b\n3,"c"d,x\n4,d,y\n')
    assert kinds(documents) == ["1", "malformed", "malformed", "4"]
    assert (
        "2 cells where the header has 3: is the delimiter right?" in documents[1].errors[0].message
    )


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    (document,) = table("a\tb\n1\t2\n", delimiter="\t")
    assert document.errors[0].kind == "no_column"
    assert "no column 'text' (there are: a, b)" in document.errors[0].message


def test_a_quote_inside_a_cell_is_a_sign_and_hides_no_row() -> None:
    documents = table('ID,text,label\n1,a 5" tube,x\n2,b,y\n3,"c, ""d""",z\n4,6" and 7",x\n')
    assert [d.text for d in documents] == ['a 5" tube', "b", 'c, "d"', '6" and 7"']


def test_rows_that_a_stray_quote_swallows_are_told_by_their_number() -> None:
    documents = table('ID,text,label\n1,"a,x\n2,b,x\n3,"c",y\n4,d,y\n')
    assert kinds(documents) == ["malformed", "4"]
    assert "(4 lines with the header: is a quote stray?)" in documents[0].errors[0].message
    (_, last) = table('ID,text,label\n1,a,x\n2,"b,x\n3,c,x\n4,d,y\n')
    assert last.errors[0].message == (
        "the data ends inside quotes that 3 lines before began: is one stray?"
    )


def test_a_column_that_stands_twice_is_an_error_where_it_is_read() -> None:
    (document,) = table("ID,text,label,text\n1,a,x,b\n")
    assert document.errors[0].kind == "malformed"
    assert document.errors[0].message == "the header has the column 'text' twice"
    (document,) = table("ID,text,label,n,n,,\n1,a,x,5,6,,\n")
    assert document.metadata == {"n": "5", "n (2)": "6"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", ["empty"]),
        ("\n \n", ["empty"]),
        ("ID,text,label\n", []),
        ("ID,text,label\r1,a,x\r2,b,y\r", ["malformed"]),
        ('ID,text,label\n1,a,x\n2,"b,y\n', ["1", "truncated"]),
        (b"ID,text,label\n1,\xff,x\n2,b,x\n", ["encoding", "2"]),
        ("x" * 70_000 + "\n1\n", ["too_large"]),
    ],
)
def test_what_is_broken_in_a_file(data: str | bytes, expected: list[str]) -> None:
    assert kinds(table(data)) == expected


def test_a_row_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (line_record, json_lines):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 100)
    data = 'ID,text,label\n1,"' + "ab\n" * 60 + f'",x\n2,{"y" * 200},z\n3,c,x\n'
    assert kinds(table(data)) == ["too_large", "too_large", "3"]


# ---------------------------------------------------------------------------------- spreadsheets


def test_a_sheet_is_read_as_a_table() -> None:
    rows: list[list[object]] = [
        ["ID", "text", "label"], [1, 'a, "b"\nc', "x"], [], [2.0, 3.5], [None, None, "y"],
    ]  # fmt: skip
    documents = read(named("xlsx", TABLE), sheet(rows), "a.xlsx")
    assert [(d.document_id, d.text) for d in documents] == [
        ("1", 'a, "b"\nc'),
        ("2", "3.5"),
        ("a", ""),
    ]
    assert [d.gold.labels for d in documents] == [[Label("tc", "x")], [], [Label("tc", "y")]]


def test_a_sheet_is_chosen_by_its_name() -> None:
    format_ = named("xlsx", {**TABLE, "sheet": "Sheet"})
    assert len(read(format_, sheet([["ID", "text", "label"], ["1"]]), "a.xlsx")) == 1
    (document,) = read(named("xlsx", {**TABLE, "sheet": "Other"}), sheet([["ID"]]), "a.xlsx")
    assert document.errors[0].kind == "not_xlsx"
    assert "Other" in document.errors[0].message


def test_what_is_no_spreadsheet_is_one_failed_record() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("xl/workbook.xml", "<")
    whole = sheet([["ID", "text", "label"], ["1", "a", "x"]])
    for data in (b"", b"x", archive.getvalue(), whole[: len(whole) // 2]):
        assert kinds(read(named("xlsx", TABLE), data, "a.xlsx")) == ["not_xlsx"]


def test_a_spreadsheet_that_unpacks_to_very_much_is_refused() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(5):
            file.writestr(f"xl/{number}.xml", bytes(64 << 20))
    assert kinds(read(named("xlsx", TABLE), archive.getvalue(), "a.xlsx")) == ["too_large"]


def _restated(book: bytes, old: bytes, new: bytes) -> bytes:
    """Return a spreadsheet with other bytes in its sheet."""
    changed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(book)) as source,
        zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for part in source.namelist():
            data = source.read(part)
            if part == "xl/worksheets/sheet1.xml":
                assert old in data
                data = data.replace(old, new)
            file.writestr(part, data)
    return changed.getvalue()


@pytest.mark.parametrize("stated", [b"A1", b"A1:C1", b"C5:D5", b"A1:XFD1048576"])
def test_a_sheet_is_read_whole_whatever_size_its_file_states(stated: bytes) -> None:
    book = sheet([["ID", "text", "label"], ["1", "a", "x"], ["2", "b", "y"]])
    book = _restated(book, b'ref="A1:C3"', b'ref="' + stated + b'"')
    assert kinds(read(named("xlsx", TABLE), book, "a.xlsx")) == ["1", "2"]


def test_a_row_with_a_number_that_no_sheet_has_is_refused() -> None:
    book = sheet([["ID", "text", "label"], ["1", "a", "x"], ["2", "b", "y"]])
    book = _restated(book, b'<row r="3">', b'<row r="999999999999">')
    assert kinds(read(named("xlsx", TABLE), book, "a.xlsx")) == ["1", "too_large"]

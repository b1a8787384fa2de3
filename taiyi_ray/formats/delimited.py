"""Delimited text (CSV, TSV) and spreadsheets (XLSX): a record is a row, read by a field map.

CSV follows RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180): a cell in double quotes may hold
delimiters, line breaks and doubled quotes. A quote inside a cell that does not begin with one is a
sign like any other. Each record holds the header too, so that it can be read alone. A table without
a header has columns named `1`, `2` ...
"""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from typing import BinaryIO, Final

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats.fields import FieldMap, document_of
from taiyi_ray.formats.format import (
    MAX_RECORD_BYTES,
    NamedFormat,
    RawRecord,
    decoded,
    whole,
)
from taiyi_ray.formats.json_lines import lines
from taiyi_ray.formats.line_record import LineRecord
from taiyi_ray.records import Document

_LONGEST_HEADER: Final = 1 << 16
_MOST_UNPACKED: Final = 256 << 20
"""The most bytes of a spreadsheet's parts, uncompressed: a small archive can hold very many."""
_MOST_ROWS: Final = 1 << 20
"""The most rows of a sheet, as in Excel: a row may state any number, and those before it count."""

# The module's own limit, of the whole process, is smaller than a record may be.
csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))


class DelimitedOptions(FieldMap):
    """How the rows of a table are written, and which column is what."""

    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="what stands between two cells"
    )
    quotes: bool = Field(True, description="whether double quotes enclose cells")
    header: bool = Field(True, description="whether the first row names the columns")


class SheetOptions(FieldMap):
    """Which sheet of a spreadsheet is read, and which column is what."""

    sheet: str | None = Field(None, description="the name of the sheet; without it, the first one")
    header: bool = Field(True, description="whether the first row names the columns")


def scan(stream: BinaryIO, options: DelimitedOptions) -> Iterator[RawRecord]:
    """Yield each row behind the header. A row goes on until its quotes are closed."""
    record = LineRecord("row")
    delimiter = options.delimiter.encode()
    header: bytes | None = None if options.header else b""
    open_, nothing, rows = 0, True, 0  # the number of lines whose quotes are not closed yet
    for line in lines(stream):
        if not open_ and line is not None and not line.strip():
            continue
        nothing = False
        record.add(line)
        if options.quotes and line is not None:
            open_ = open_ + 1 if _ends_in_quotes(line, bool(open_), delimiter) else 0
        if open_:
            continue
        for row in record.taken():
            if header is not None:
                rows += 1
                yield _with_header(header, row)
            elif row.fault or len(row.data) > _LONGEST_HEADER:
                yield RawRecord.broken("too_large", "the header is too long: is there one?")
                return
            else:
                header = row.data
    if record:
        message = f"the data ends inside quotes that {open_:,} lines before began: is one stray?"
        yield RawRecord.broken("truncated", message)
    elif header and not rows and b"\r" in header:
        message = "the lines end with CR alone: save the file with LF or CRLF"
        yield RawRecord.broken("malformed", message)
    if nothing:
        yield RawRecord.broken("empty", "the file is empty")


def _ends_in_quotes(line: bytes, quoted: bool, delimiter: bytes) -> bool:
    """Whether a line ends inside the quotes of a cell.

    Args:
        line: the line.
        quoted: whether it begins inside quotes.
        delimiter: what stands between two cells.
    """
    at = 0
    if not quoted:
        if b'"' not in line:
            return False
        quoted, at = line.startswith(b'"'), int(line.startswith(b'"'))
    while True:
        while quoted:
            at = line.find(b'"', at) + 1
            if not at:
                return True
            quoted = line[at : at + 1] == b'"'  # a doubled quote is one of the text
            at += quoted
        at = line.find(delimiter, at) + len(delimiter)
        if at < len(delimiter):
            return False
        if line[at : at + 1] == b'"':
            quoted, at = True, at + 1


def _with_header(header: bytes, row: RawRecord) -> RawRecord:
    if row.fault or not header:
        return row
    return RawRecord("row", header + b"\n" + row.data)


def parse(raw: RawRecord, options: DelimitedOptions) -> Document:
    """Turn a row into a Document; raises FormatError."""
    rows = _rows(decoded(raw.data, "row"), options.delimiter, quotes=options.quotes)
    return _row_document(rows, options, header=options.header)


def _rows(text: str, delimiter: str, *, quotes: bool) -> list[list[str]]:
    if not quotes:
        return [line.split(delimiter) for line in text.split("\n")]
    source = io.StringIO(text, newline="")
    try:
        return list(csv.reader(source, delimiter=delimiter, strict=True))
    except csv.Error as error:
        many = text.count("\n") + 1
        lines_ = f" ({many:,} lines with the header: is a quote stray?)" if many > 2 else ""
        raise FormatError("malformed", f"not a row of CSV: {error}{lines_}") from None


def _row_document(
    rows: Sequence[Sequence[str]], options: DelimitedOptions | SheetOptions, *, header: bool
) -> Document:
    """Make a Document of a row, which the header stands before, if there is one."""
    if len(rows) != 1 + header:
        raise FormatError("malformed", f"{len(rows) - header} rows where one was expected")
    row = rows[-1]
    names = rows[0] if header else [str(number + 1) for number in range(len(row))]
    if len(names) != len(row):
        message = f"{len(row)} cells where the header has {len(names)}: is the delimiter right?"
        raise FormatError("malformed", message)
    cells: dict[str, str] = {}
    seen: Counter[str] = Counter()
    named = options.named()
    for name, cell in zip((name.strip() for name in names), row, strict=True):
        seen[name] += 1
        if seen[name] > 1 and name in named:
            raise FormatError("malformed", f"the header has the column {name!r} twice")
        cells[f"{name} ({seen[name]})" if name and seen[name] > 1 else name] = cell

    def get(name: str) -> list[object]:
        if name not in cells:
            known = ", ".join(list(cells)[:20])
            raise FormatError("no_column", f"no column {name!r} (there are: {known:.400})")
        return [cells[name]]

    document = document_of(get, options)
    document.metadata = {name: cell for name, cell in cells.items() if cell and name not in named}
    return document


# ---------------------------------------------------------------------------------- spreadsheets


def scan_sheet(stream: BinaryIO, options: SheetOptions) -> Iterator[RawRecord]:
    """Yield each row of a sheet as CSV, behind the header."""
    record = whole(stream, "spreadsheet")
    if record.fault:
        yield record
        return
    header: bytes | None = None if options.header else b""
    for row in _sheet(record.data, options.sheet):
        written = io.StringIO()
        csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="").writerow(row)
        data = written.getvalue().encode("utf-8", "replace")
        if len(data) > (MAX_RECORD_BYTES if header is not None else _LONGEST_HEADER):
            yield RawRecord.broken("too_large", "a row is too long")
        elif header is None:
            header = data
        else:
            yield _with_header(header, RawRecord("row", data))


def _sheet(data: bytes, name: str | None) -> Iterator[list[str]]:
    """Yield the rows that are not empty, without the empty columns behind the header's last."""
    from openpyxl import load_workbook  # slow to import: only when it is needed

    width: int | None = None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > _MOST_UNPACKED:
                message = f"the sheets are larger than {_MOST_UNPACKED >> 20} MiB"
                raise FormatError("too_large", message)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and rules, which nobody reads here
            book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            sheet = book[name] if name is not None else book.worksheets[0]
            sheet.reset_dimensions()  # a file may state too few: what is beyond would be left out
            for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
                if number > _MOST_ROWS:
                    raise FormatError("too_large", f"a sheet has more than {_MOST_ROWS:,} rows")
                row = [_cell(value) for value in cells]
                while row and not row[-1]:
                    row.pop()
                if not row:
                    continue
                width = width or len(row)
                yield row + [""] * (width - len(row))
    except (FormatError, MemoryError):
        raise
    except Exception as error:  # openpyxl has no error of its own for a broken file
        message = f"not a spreadsheet, or not with this sheet: {type(error).__name__}: {error}"
        raise FormatError("not_xlsx", message) from None


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value)


def parse_sheet(raw: RawRecord, options: SheetOptions) -> Document:
    """Turn a row of a sheet into a Document; raises FormatError."""
    rows = _rows(decoded(raw.data, "row"), ",", quotes=True)
    return _row_document(rows, options, header=options.header)


FORMAT = NamedFormat(
    "delimited",
    DelimitedOptions,
    scan,
    parse,
    "a row of CSV or TSV: what its field map says",
    version=2,
)
SHEET = NamedFormat(
    "xlsx",
    SheetOptions,
    scan_sheet,
    parse_sheet,
    "a row of a sheet: what its field map says",
    version=2,
)

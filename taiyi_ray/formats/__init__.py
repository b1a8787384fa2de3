"""File formats, one module each: the bytes of a source -> raw records -> Documents.

Adding a format: one module with `scan` and `parse`, one line in FORMATS, tests beside the others.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_lines, plain_text, pubmed
from taiyi_ray.formats.format import Format, RawRecord
from taiyi_ray.records import Document, Failure

FORMATS: tuple[Format, ...] = (pubmed.FORMAT, json_lines.FORMAT, plain_text.FORMAT)


def format_of(path: str) -> Format | None:
    """Return the format that reads a file of this name, or None."""
    name = PurePosixPath(path).name.lower().removesuffix(".gz")
    return next((f for f in FORMATS if name.endswith(f.suffixes)), None)


class _Gunzip:
    """A gzip stream that ends where its data is damaged or cut off, and keeps why as `damage`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._file = gzip.GzipFile(fileobj=stream, mode="rb")
        self.damage: str | None = None

    def read(self, size: int = -1) -> bytes:
        """Return some of the data; `read1`, unlike `read`, loses none that precedes the damage."""
        try:
            return b"" if self.damage else self._file.read1(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.damage = str(error)
            return b""


def raw_records(stream: BinaryIO, path: str, format_: Format) -> Iterator[RawRecord]:
    """Yield the raw records of an open source; `.gz` is uncompressed on the way.

    Where compressed data is damaged or ends early, the record there is a `truncated` one.
    """
    if not path.lower().endswith(".gz"):
        yield from format_.scan(stream)
        return
    unzipped = _Gunzip(stream)
    last: RawRecord | None = None
    for record in format_.scan(cast(BinaryIO, unzipped)):
        if last is not None:
            yield last
        last = record
    if unzipped.damage:
        message = f"the compressed data is damaged or ends early: {unzipped.damage}"
        last = RawRecord.broken("truncated", message)
    if last is not None:
        yield last


def documents(
    stream: BinaryIO, path: str, format_: Format, source: str, first: int, last: int
) -> Iterator[Document]:
    """Yield the Documents at positions first..last (inclusive); a broken record is a `failed` one.

    A Document whose format has no ids is called by the name of its file.
    """
    records = islice(raw_records(stream, path, format_), first, last + 1)
    for position, record in enumerate(records, first):
        try:
            if record.fault is not None:
                raise FormatError(record.fault, record.data.decode())
            document = format_.parse(record)
            document.document_id = document.document_id or _stem(path, format_)
        except FormatError as error:
            failure = Failure(error.kind, f"{path}, record {position}", str(error))
            document = Document(None, status="failed", errors=[failure])
        document.source, document.position = source, position
        yield document


def _stem(path: str, format_: Format) -> str:
    """Return the name of the file without the format's ending and `.gz`."""
    name = PurePosixPath(path).name
    if name.lower().endswith(".gz"):
        name = name[:-3]
    ending = next((s for s in format_.suffixes if name.lower().endswith(s)), "")
    return name[: len(name) - len(ending)] or name

"""What a file format is: a boundary scanner that finds records, and a parser for one record.

Planning counts what `scan` yields, reading parses what `scan` yields: plan and rows cannot
disagree. A format that is also written has a Writer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import BinaryIO

from taiyi_ray.errors import FormatError
from taiyi_ray.records import Annotations, Document, brief

MAX_RECORD_BYTES = 16 << 20
"""A larger record becomes a `failed` row: it would not fit a unit. This is what bounds the text of
a document too, for it is never longer than its record, and what reading one may take: a format in
which a few bytes can stand for much text refuses that before it makes it."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """The bytes of one record; `kind` is the format's own word for it.

    A fault of the source itself (truncated, too large, not of this format) is a record too:
    `fault` is its short name and `data` the message in UTF-8. `beside` are the files that belong to
    it by their endings, `columns` the names that the source has for the keys of a document.
    """

    kind: str
    data: bytes
    fault: str | None = None
    beside: Mapping[str, bytes] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def broken(cls, fault: str, message: str) -> RawRecord:
        return cls("fault", brief(message).encode(), fault)

    @property
    def size(self) -> int:
        """Bytes of the record and of what lies beside it."""
        return len(self.data) + sum(map(len, self.beside.values()))


@dataclass(frozen=True, slots=True)
class Written:
    """A document as the bytes of one record of each file, by ending; `lost` counts, in words, the
    annotations that the format could not hold."""

    parts: dict[str, bytes]
    lost: Counter[str]


@dataclass(frozen=True, slots=True)
class Writer:
    """How documents and their annotations are written.

    Attributes:
        endings: of the files that a name stands for; the last one is the source when read again.
        write: turns a document and what was found in it into one record of each file.
        head: the bytes before the records of a file, which may say of which day these are.
        between, tail: the bytes between them and behind them.
        apart: each document is files of its own.
        losses: what the format cannot hold, in words for the documentation.
    """

    endings: tuple[str, ...]
    write: Callable[[Document, Annotations], Written]
    head: Callable[[date], bytes] = lambda day: b""
    between: bytes = b""
    tail: bytes = b""
    apart: bool = False
    losses: str = "nothing"

    def file(self, records: Iterable[bytes], day: date) -> Iterator[bytes]:
        """Yield the pieces of a file of these records.

        Args:
            records: what `write` made, for the one ending that such a format has.
            day: of the file.
        """
        yield self.head(day)
        for number, record in enumerate(records):
            yield self.between + record if number else record
        yield self.tail


UNWRITTEN = ("failed", "deleted")
"""Documents of these statuses are in no file that is written: nothing can be said of them."""


@dataclass(frozen=True, slots=True)
class Format:
    """One file format.

    Attributes:
        name: as in messages, in plans and on the command line.
        suffixes: file name endings, lower case, without `.gz`.
        scan: yields the raw records of an uncompressed binary stream, in order, in constant memory.
        parse: turns one raw record into a Document, whose text is not longer than the record;
            raises FormatError for a broken one.
        records: what a record is, and where its text and annotations come from, for documentation.
        recognises: tells from the first bytes of a file whether it is of this format, where several
            formats share an ending; the one without it is what a file is otherwise.
        beside: endings of the files that belong to a source of this format and are none themselves,
            by the source's own ending.
        writer: how it is written, None for a format that is only read.
        version: rises when the text of the same bytes becomes another one: a source that was begun
            with another version is not gone on with.
    """

    name: str
    suffixes: tuple[str, ...]
    scan: Callable[[BinaryIO], Iterator[RawRecord]]
    parse: Callable[[RawRecord], Document]
    records: str
    recognises: Callable[[bytes], bool] | None = None
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    writer: Writer | None = None
    version: int = 1


def decoded(data: bytes, what: str) -> str:
    """Decode a record as UTF-8; raises FormatError that names where `what` is not."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not valid UTF-8: {error.reason} at byte {error.start} of the {what}"
        raise FormatError("encoding", message) from None


def whole(stream: BinaryIO, kind: str) -> RawRecord:
    """Take all of a stream as one record; no more than the limit is read or held in memory."""
    parts: list[bytes] = []
    room = MAX_RECORD_BYTES + 1
    while room > 0 and (part := stream.read(room)):
        parts.append(part)
        room -= len(part)
    if room <= 0:
        message = f"the file is larger than {MAX_RECORD_BYTES >> 20} MiB"
        return RawRecord.broken("too_large", message)
    return RawRecord(kind, b"".join(parts))

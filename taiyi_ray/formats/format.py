"""What a file format is: a scanner that finds the records, and a parser for one record.

The planner counts the records that `scan` yields, and readers parse the same records: a plan and
its rows cannot disagree. A format that is also written has a Writer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from taiyi_ray.config import explain
from taiyi_ray.errors import ConfigError, FormatError
from taiyi_ray.records import Annotations, Document, brief

MAX_RECORD_BYTES = 16 << 20
"""A larger record becomes a `failed` row, because it would not fit a unit. This limit bounds the
text of a document as well, since a text is never longer than its record. In some formats a few
bytes can stand for a long text: such a format must refuse the record before it builds the text."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """The bytes of one record, or a fault of the source (truncated, too large, another format).

    Attributes:
        kind: the format's own word for the record: `line`, `document`, `PubmedArticle`, ...
        data: the bytes of the record; of a fault, the message in UTF-8.
        fault: the short name of the fault; None for a record.
        beside: the contents of the files that lie beside the source, by ending.
        columns: the source's own names for the keys of a document, by key.
    """

    kind: str
    data: bytes
    fault: str | None = None
    beside: Mapping[str, bytes] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def broken(cls, fault: str, message: str) -> RawRecord:
        """Make the record of a fault."""
        return cls("fault", brief(message).encode(), fault)

    @property
    def size(self) -> int:
        """Bytes of the record and of the files beside it."""
        return len(self.data) + sum(map(len, self.beside.values()))


@dataclass(frozen=True, slots=True)
class Written:
    """A document as a format writes it.

    Attributes:
        parts: the bytes of one record for each file, by the file's ending.
        lost: how often the format could not hold something, by a description in words.
    """

    parts: dict[str, bytes]
    lost: Counter[str]


def _no_head(day: date) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Writer:
    """How documents and their annotations are written.

    Attributes:
        endings: the endings of the files that are written together. When they are read again, the
            file with the last ending is the source.
        write: turns a document and its annotations into one record for each file.
        head: makes the bytes before the first record of a file, given the day of writing.
        between, tail: the bytes between two records, and behind the last one.
        apart: whether each document has files of its own.
        losses: what the format cannot hold, in words for the documentation.
    """

    endings: tuple[str, ...]
    write: Callable[[Document, Annotations], Written]
    head: Callable[[date], bytes] = _no_head
    between: bytes = b""
    tail: bytes = b""
    apart: bool = False
    losses: str = "nothing"

    def file(self, records: Iterable[bytes], day: date) -> Iterator[bytes]:
        """Yield the pieces of a file that holds all the records, for a writer with one ending.

        Args:
            records: the records that `write` made.
            day: the day of writing.
        """
        yield self.head(day)
        for number, record in enumerate(records):
            yield self.between + record if number else record
        yield self.tail


UNWRITTEN = ("failed", "deleted")
"""Documents with these statuses are not written to files: they have no annotations."""


@dataclass(frozen=True, slots=True)
class Format:
    """One file format.

    Attributes:
        name: the name in messages, in plans and on the command line.
        suffixes: file name endings, lower case, without `.gz`.
        scan: yields the raw records of an uncompressed binary stream, in order, in constant memory.
        parse: turns one raw record into a Document, whose text is not longer than the record;
            raises FormatError for a broken record.
        records: what a record is and holds, in words for the documentation.
        recognises: tells from the first bytes of a file whether it is of this format. It decides
            between formats that share an ending. A file that none of them recognises is of the one
            without this function.
        beside: the endings of the files that belong to a source and are no sources themselves, by
            the source's own ending. `../text/*.txt` means a file in another folder; `*` is the name
            of the source without its ending.
        writer: how the format is written; None for a format that is only read.
        version: must rise when the same bytes give another text. A job does not continue a source
            that it began with another version.
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


class FormatOptions(BaseModel):
    """What a reader must be told about a file; the field descriptions are the documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class NamedFormat:
    """A format that is chosen by its name alone, and takes options.

    Its files have endings that say nothing (`.json`, `.tsv`), and their first bytes do not tell it
    from others. So no file is ever recognised as one of this format.

    Attributes:
        name: the name of the format.
        options: the class of its options.
        scan: as `Format.scan`, given the options too.
        parse: as `Format.parse`, given the options too.
        records: what a record is and holds, in words for the documentation.
        beside: makes `Format.beside` of the options; None where nothing lies beside a source.
        writer: how the format is written; None for a format that is only read.
        version: as `Format.version`.
    """

    name: str
    options: type[FormatOptions]
    scan: Callable[[BinaryIO, Any], Iterator[RawRecord]]
    parse: Callable[[RawRecord, Any], Document]
    records: str
    beside: Callable[[Any], Mapping[str, tuple[str, ...]]] | None = None
    writer: Writer | None = None
    version: int = 1

    def bound(self, values: Mapping[str, Any]) -> Format:
        """Return the format with its options.

        Args:
            values: the options by name.

        Raises:
            ConfigError: an option is unknown, missing or has a wrong value; the message names all.
        """
        try:
            options = self.options.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(f"format {self.name}: {explain(error, self.options)}") from error
        return Format(
            self.name,
            (),
            partial(_scan, self.scan, options),
            partial(_parse, self.parse, options),
            self.records,
            beside=self.beside(options) if self.beside else {},
            writer=self.writer,
            version=self.version,
        )


def _scan(
    scan: Callable[[BinaryIO, Any], Iterator[RawRecord]], options: FormatOptions, stream: BinaryIO
) -> Iterator[RawRecord]:
    return scan(stream, options)


def _parse(
    parse: Callable[[RawRecord, Any], Document], options: FormatOptions, raw: RawRecord
) -> Document:
    return parse(raw, options)


def decoded(data: bytes, what: str) -> str:
    """Decode a record as UTF-8; raises FormatError that names the bad byte and `what` it is in."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not valid UTF-8: {error.reason} at byte {error.start} of the {what}"
        raise FormatError("encoding", message) from None


def whole(stream: BinaryIO, kind: str) -> RawRecord:
    """Take all of a stream as one record; nothing behind MAX_RECORD_BYTES is read."""
    parts: list[bytes] = []
    room = MAX_RECORD_BYTES + 1
    while room > 0 and (part := stream.read(room)):
        parts.append(part)
        room -= len(part)
    if room <= 0:
        message = f"the file is larger than {MAX_RECORD_BYTES >> 20} MiB"
        return RawRecord.broken("too_large", message)
    return RawRecord(kind, b"".join(parts))

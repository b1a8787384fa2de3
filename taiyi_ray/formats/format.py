"""What a file format is: a boundary scanner that finds records, and a parser for one record.

Planning counts what `scan` yields, reading parses what `scan` yields: plan and rows cannot
disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from taiyi_ray.records import Document

MAX_RECORD_BYTES = 16 << 20
"""A larger record becomes a `failed` row: it would not fit a unit (DESIGN: 16 MB of text)."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """The bytes of one record; `kind` is the format's own word for it.

    A fault of the source itself (truncated, too large, not of this format) is a record too:
    `fault` is its short name and `data` the message in UTF-8.
    """

    kind: str
    data: bytes
    fault: str | None = None

    @classmethod
    def broken(cls, fault: str, message: str) -> RawRecord:
        return cls("fault", message.encode(), fault)


@dataclass(frozen=True, slots=True)
class Format:
    """One file format.

    Attributes:
        name: as in messages and documentation.
        suffixes: file name endings, lower case, without `.gz`.
        scan: yields the raw records of an uncompressed binary stream, in order, in constant memory.
        parse: turns one raw record into a Document; raises FormatError for a broken one.
    """

    name: str
    suffixes: tuple[str, ...]
    scan: Callable[[BinaryIO], Iterator[RawRecord]]
    parse: Callable[[RawRecord], Document]

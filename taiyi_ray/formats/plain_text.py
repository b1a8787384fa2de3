"""Plain text: a file is one document of one passage.

It is in UTF-8 or GB18030, or in UTF-16 or UTF-32 with a byte order mark.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.format import Format, RawRecord, whole
from taiyi_ray.formats.unmarked import MARKS
from taiyi_ray.records import Document, passages

_ENCODINGS: Final = (*MARKS, (codecs.BOM_UTF8, "utf-8-sig"))


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the whole file as one record; a file over the limit is not held in memory."""
    record = whole(stream, "text")
    if not record.data.strip() or record.data in dict(_ENCODINGS):
        record = RawRecord.broken("empty", "the file is empty")
    yield record


def parse(raw: RawRecord) -> Document:
    """Turn the file into a Document with one passage of the type `text`, whose lines end in LF.

    The document has no id: the caller, who knows the name of the file, sets it.
    """
    text = _decoded(raw.data).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise FormatError("encoding", "the file holds NUL characters: it is not text")
    return Document(None, passages([("text", language.of_text(text), text)]))


def _decoded(data: bytes) -> str:
    """Decode the file by its mark, else as UTF-8, else as GB18030 if that makes it Chinese."""
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        fault = f"not valid {name}: {error.reason} at byte {error.start}"
    if encoding == "utf-8-sig":
        try:
            text = data.decode("gb18030")
        except UnicodeDecodeError:
            fault += ", nor valid GB18030"
        else:
            if language.has_han(text):
                return text
    raise FormatError("encoding", f"the file is {fault}")


FORMAT = Format("text", (".txt",), scan, parse, "a file: one passage")

"""The bytes of a source as UTF-8, without a byte order mark at its beginning.

Windows programs write such marks, and UTF-16 with them. The readers of XML and of plain text
recognise more encodings by themselves (xml_scanner.py, plain_text.py).
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from typing import BinaryIO, Final, cast

MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The marks of encodings other than UTF-8. A mark stands before the marks that it begins with."""

INVALID: Final = "taiyi_ray.invalid"
"""The error handler that decodes bytes which are invalid in their encoding to a lone surrogate. A
parser refuses this in UTF-8, so that only the record with these bytes fails."""

codecs.register_error(INVALID, lambda error: ("\udcff", getattr(error, "end", 0)))

_CHUNK: Final = 1 << 20
_LONGEST: Final = max(len(mark) for mark, _ in MARKS)


class _Unmarked:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ready: bytes | None = None  # before the first bytes are known
        self._decode: Callable[[bytes, bool], str] | None = None

    def read(self, size: int = -1) -> bytes:
        """Return some of the data, empty at its end; without a size, all of the data."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        if self._ready is None:
            self._ready = self._begun()
        while not self._ready and self._decode is not None:
            chunk = self._stream.read(_CHUNK)
            self._ready = self._decode(chunk, not chunk).encode("utf-8", "surrogatepass")
            if not chunk:
                self._decode = None
        if not self._ready:
            return self._stream.read(size)
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _begun(self) -> bytes:
        """Read the first bytes and remove the mark, which decides how the rest is decoded."""
        head = b""
        while len(head) < _LONGEST and (more := self._stream.read(_LONGEST - len(head))):
            head += more
        encoding = next((name for mark, name in MARKS if head.startswith(mark)), None)
        if encoding is None:
            return head.removeprefix(codecs.BOM_UTF8)
        self._decode = codecs.getincrementaldecoder(encoding)(errors=INVALID).decode
        return self._decode(head, False).encode("utf-8", "surrogatepass")


def unmarked(source: BinaryIO) -> BinaryIO:
    """The stream in UTF-8 and without its mark; it can only be read from beginning to end."""
    return cast(BinaryIO, _Unmarked(source))


def unmarked_bytes(data: bytes) -> bytes:
    """The data in UTF-8 and without its mark."""
    return unmarked(io.BytesIO(data)).read()

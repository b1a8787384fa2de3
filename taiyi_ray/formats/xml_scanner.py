"""Finding the records in XML (PubMed, BioC, JATS), byte by byte and in constant memory.

The scanner looks only for the tags of records and of their root, and skips comments, CDATA and
processing instructions. It makes every decision with the same number of bytes in view, `_AHEAD` (or
all up to the end of the data): so the records do not depend on the sizes of the chunks that are
read.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final

from taiyi_ray.errors import FormatError
from taiyi_ray.formats.format import MAX_RECORD_BYTES, RawRecord
from taiyi_ray.formats.unmarked import INVALID, MARKS

_CHUNK = 1 << 20
_AHEAD = 1 << 18

# ------------------------------------------------------------------------------------- encodings

_BEGINNINGS: Final = (*MARKS, (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARED = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml\s[^<>]*?encoding\s*=\s*["']([^"'<>]*)["']""")
_PROBE: Final = r'<a b="\u0041+ZeU-">~{'


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end of the data."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _foreign_encoding(head: bytes) -> str | None:
    """Return the encoding that the data must be decoded from, None where it is UTF-8 already."""
    for mark, name in _BEGINNINGS:
        if head.startswith(mark):
            return name
    declared = _DECLARED.match(head)
    if declared is None:
        return None
    name = declared[1].decode("ascii", "replace")
    try:
        codec = codecs.lookup(name).name
        if "<".encode(name) != b"<":
            return None  # a declaration in ASCII that names UTF-16 or the like cannot be true
        if _PROBE.encode("ascii").decode(name) != _PROBE:
            raise LookupError  # ASCII signs mean something else: UTF-7, HZ, Python's own escapes
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        message = f"the XML declaration names the encoding {name!r}, which cannot be read"
        raise FormatError("encoding", message) from None
    return None if codec in ("utf-8", "ascii") else codec


def _utf8_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the data as UTF-8, in chunks that are not empty.

    Raises:
        FormatError: the data declares an encoding that cannot be read. Invalid bytes do not raise.
    """
    chunk = _read(stream, max(_CHUNK, 200))
    encoding = _foreign_encoding(chunk)
    decode: Callable[[bytes], str] | None = None
    if encoding is not None:
        decode = codecs.getincrementaldecoder(encoding)(errors=INVALID).decode
    while chunk:
        utf8 = decode(chunk).encode("utf-8", "surrogatepass") if decode else chunk
        if utf8:
            yield utf8
        chunk = _read(stream, _CHUNK)


# --------------------------------------------------------------------------------------- scanning

_DELETED: Final = b"PMID"

_CLOSERS: Final = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}

# The rest of a tag. Its length is bounded well below _AHEAD, and quoted values may hold a ">".
_REST = rb"""((?:[^<>"']{1,500}+|"[^"<]{0,500}+"|'[^'<]{0,500}+'){0,100}+>)"""


def _marks(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Match the tags of these names, and what may hide such tags: comments, CDATA, instructions.

    The look-ahead only saves time: it rejects nearly every other tag at its first letters.
    """
    tag = rb"(/?)(%b)(?=[\s/>])%b?" % (b"|".join(sorted(names)), _REST)
    starts = b"|".join(sorted({name[:6] for name in names}))
    return re.compile(rb"<(?=[!?]|%b|/(?:%b))(?:!--|!\[CDATA\[|\?|%b)" % (starts, starts, tag))


_MISC = rb"(?:\s++|\xef\xbb\xbf|<\?.*?\?>|<!--.*?-->)*+"
_DOCTYPE = (
    rb"""<!DOCTYPE(?:[^\["'>]|"[^"]*"|'[^']*'"""
    rb"""|\[(?:[^\]"'<]|"[^"]*"|'[^']*'|<!--.*?-->|<\?.*?\?>|<(?!!--|\?))*+\])*+>"""
)
_MISC_ONLY = re.compile(_MISC, re.DOTALL)
# The name gives nothing back: in a text without end each shorter name would be tried.
_PROLOG = re.compile(rb"%b(?:%b)?+%b<([^\s<>/!?]++)%b" % (_MISC, _DOCTYPE, _MISC, _REST), re.DOTALL)


class XmlRecords:
    """The elements of a format that are records, and those that hold records.

    Attributes:
        roots: names of the elements that hold records; a record may also be the root itself.
        records: names of the elements that are records.
        outer: the records that may contain elements named in `records`; inside them these are no
            records.
        deletions: names of the elements that hold the ids of withdrawn records; each PMID in them
            is a record of the kind `delete`.
        expected: the root that messages name.
        fault: the short name of the fault of a file with another root.
    """

    def __init__(
        self,
        roots: Iterable[bytes],
        records: Iterable[bytes],
        *,
        outer: Iterable[bytes] = (),
        deletions: Iterable[bytes] = (),
        expected: str,
        fault: str,
    ) -> None:
        self.roots, self.records = frozenset(roots), frozenset(records)
        self.outer, self.deletions = frozenset(outer), frozenset(deletions)
        self.expected, self.fault = expected, fault
        self._marks = _marks(self.roots | self.records | self.deletions)
        self._marks_in_outer = _marks(self.roots | self.outer | self.deletions)
        self.marks_and_deleted = _marks(self.roots | self.records | self.deletions | {_DELETED})

    def marks(self, record: bytes | None = None) -> re.Pattern[bytes]:
        """Match the tags that matter between records, or inside a record of this name."""
        return self._marks_in_outer if record in self.outer else self._marks

    def recognises(self, head: bytes) -> bool:
        """Tell from the beginning of the data whether its root is one of these."""
        try:
            utf8 = b"".join(_utf8_chunks(io.BytesIO(head)))
        except FormatError:
            return False
        prolog = _PROLOG.match(utf8)
        return prolog is not None and prolog[1] in self.roots | self.records


class _Scanner:
    """A walk over the bytes of a source, of which it keeps a view.

    Attributes:
        of: the elements to look for.
        data: the bytes in view, from the start of the current record.
        at: the offset in `data` of the next search.
        begin: the offset in `data` where the current record starts; None outside a record.
        oversize: whether the current record grew too large, so that its beginning was dropped.
        ended: whether `data` reaches the end of the source.
    """

    def __init__(self, chunks: Iterator[bytes], of: XmlRecords) -> None:
        self.chunks = chunks
        self.of = of
        self.data = b""
        self.at = 0
        self.begin: int | None = None
        self.oversize = False
        self.ended = False

    def records(self) -> Iterator[RawRecord]:
        """Yield the records of all the XML documents that the data holds, one after another."""
        first = True
        while True:
            self._see_ahead()
            prolog = _PROLOG.match(self.data, self.at, self.at + _AHEAD)
            name = prolog[1] if prolog else b""
            if prolog is None or name not in self.of.roots | self.of.records:
                yield from self._no_root(name, first)
                return
            wrap = (b"", b"")
            if name in self.of.roots:
                self.at = prolog.end()
                if prolog[2].endswith(b"/>"):
                    first = False
                    continue
                if b"xmlns" in prolog[2]:
                    wrap = (b"<" + name + prolog[2], b"</" + name + b">")
            for record in self._below(name, wrap):
                yield record
                if record.fault == "truncated":
                    return
            first = False

    def _no_root(self, name: bytes, first: bool) -> Iterator[RawRecord]:
        """Yield the fault, if there is one, where a root element was expected."""
        misc = _MISC_ONLY.match(self.data, self.at, self.at + _AHEAD)
        start = misc.end() if misc else self.at
        only_misc = self.ended and start == len(self.data)
        if first and not self.data.removeprefix(codecs.BOM_UTF8).strip():
            yield RawRecord.broken("empty", "the file is empty")
        elif name:
            root = name[:80].decode("utf-8", "replace")
            message = f"the root element is <{root}>; expected {self.of.expected}"
            yield RawRecord.broken(self.of.fault, message)
        elif first:
            shown = self.data[start : start + 40].decode("utf-8", "replace")
            yield RawRecord.broken(self.of.fault, f"no XML element at {shown!r}")
        elif not only_misc:
            yield RawRecord.broken("malformed", "there is text after the end of the root element")

    def _below(self, root: bytes, wrap: tuple[bytes, bytes]) -> Iterator[RawRecord]:
        """Yield the records up to the root's end tag; a record may be the root itself."""
        while (mark := self._next(self.of.marks())) is not None:
            closing, name = mark[1], mark[2]
            if closing:
                if name == root:
                    return
                if name in self.of.records:
                    message = f"an end tag </{name.decode()}> without its start tag"
                    yield RawRecord.broken("malformed", message)
            elif name in self.of.records:
                yield self._record(mark, self.of.marks(name), wrap)
                if name == root:
                    return
            elif name in self.of.deletions and not (mark[3] or b"").endswith(b"/>"):
                yield from self._deleted(name, wrap)
        yield RawRecord.broken("truncated", f"the data ends without </{root.decode()}>")

    def _deleted(self, block: bytes, wrap: tuple[bytes, bytes]) -> Iterator[RawRecord]:
        """Yield each PMID of a DeleteCitation as a record of the kind `delete`."""
        while (mark := self._next(self.of.marks_and_deleted)) is not None:
            closing, name = mark[1], mark[2]
            if name == _DELETED:
                if not closing:
                    yield self._record(mark, self.of.marks_and_deleted, wrap)
            elif closing and name == block:
                return
            else:
                self.at = mark.start()
                message = f"<{block.decode()}> without its end tag"
                yield RawRecord.broken("malformed", message)
                return

    def _record(
        self, start: re.Match[bytes], marks: re.Pattern[bytes], wrap: tuple[bytes, bytes]
    ) -> RawRecord:
        """Return the record of a start tag, or the fault that ends it."""
        name = start[2]
        self.begin, self.oversize = start.start(), False
        empty = (start[3] or b"").endswith(b"/>")
        fault = None if empty else self._to_end(name, marks)
        begin, self.begin = self.begin, None
        if fault is not None and fault.fault == "truncated":
            return fault
        if self.oversize or begin is None or self.at - begin > MAX_RECORD_BYTES:
            message = f"a <{name.decode()}> is larger than {MAX_RECORD_BYTES >> 20} MiB"
            return RawRecord.broken("too_large", message)
        if fault is not None:
            return fault
        data = self.data[begin : self.at]
        kind = "delete" if name == _DELETED else name.decode()
        return RawRecord(kind, wrap[0] + data + wrap[1] if wrap[0] else data)

    def _to_end(self, name: bytes, marks: re.Pattern[bytes]) -> RawRecord | None:
        """Step behind the end tag, or to a tag that shows that it is missing; return the fault."""
        while (mark := self._next(marks)) is not None:
            closing, other = mark[1], mark[2]
            if closing and other == name:
                return None
            if not closing or other in self.of.roots or self._leaves_deletion(name, other):
                self.at = mark.start()
                message = f"a <{name.decode()}> without its end tag"
                return RawRecord.broken("malformed", message)
        return RawRecord.broken("truncated", f"the data ends inside a <{name.decode()}>")

    def _leaves_deletion(self, name: bytes, other: bytes) -> bool:
        return name == _DELETED and other in self.of.deletions

    def _next(self, marks: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Return the next tag of interest and step behind it; None at the end of the data."""
        while True:
            self._see_ahead()
            sure = len(self.data) if self.ended else len(self.data) - _AHEAD
            mark = marks.search(self.data, self.at)
            if mark is not None and mark.start() <= sure:
                self.at = mark.end()
                closer = _CLOSERS.get(mark[0])
                if closer is None:
                    return mark
                self._step_behind(closer)
            else:
                self.at = sure
                if self.ended:
                    return None
                self._read_on()

    def _step_behind(self, closer: bytes) -> None:
        """Step behind the next `closer`, or to the end of the data."""
        while (found := self.data.find(closer, self.at)) < 0:
            if self.ended:
                self.at = len(self.data)
                return
            self.at = max(self.at, len(self.data) - len(closer) + 1)
            self._read_on()
        self.at = found + len(closer)

    def _see_ahead(self) -> None:
        while not self.ended and len(self.data) - self.at < _AHEAD:
            self._read_on()

    def _read_on(self) -> None:
        """Read a chunk; drop the bytes that were passed, and those of a too large record."""
        if self.begin is not None and self.at - self.begin > MAX_RECORD_BYTES:
            self.begin, self.oversize = None, True
        keep = self.at if self.begin is None else self.begin
        chunk = next(self.chunks, b"")
        self.ended = not chunk
        self.data = self.data[keep:] + chunk
        self.at -= keep
        if self.begin is not None:
            self.begin = 0


def scan(stream: BinaryIO, of: XmlRecords) -> Iterator[RawRecord]:
    """Yield the records of an XML file; their kinds are the names of their elements, or `delete`.

    If the root element declares namespaces, each record is wrapped in that root. No bytes make this
    raise an error; errors of `stream.read` are passed on.
    """
    try:
        yield from _Scanner(_utf8_chunks(stream), of).records()
    except FormatError as error:
        yield RawRecord.broken(error.kind, str(error))

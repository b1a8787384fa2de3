"""BioC JSON: a collection of documents (bioc.py describes a document), or one document alone.

The documents are in `{"documents": [...]}`, in a list of such collections (NCBI's BioC service) or
in `{"PubTator3": [...]}` (PubTator's). Lines of BioC documents are JSON lines (json_lines.py).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import BinaryIO, Final

from taiyi_ray.formats import bioc
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, RawRecord, Writer, Written
from taiyi_ray.formats.json_lines import json_object
from taiyi_ray.formats.unmarked import unmarked
from taiyi_ray.records import Annotations, Document

_HOLDERS: Final = frozenset({b"documents", b"PubTator3"})

_CHUNK: Final = 1 << 16
_BEHIND: Final = 256
"""Bytes before the current position that are kept: a key, or the beginning of a line."""
_LONGEST_KEY: Final = 32
_DEEPEST: Final = 1 << 16
"""The most open brackets whose kinds are remembered; deeper ones are only counted."""

_OBJECT, _ARRAY = ord("}"), ord("]")
_VALUE: Final = b"x"
"""Stands for a string, number or word where a document may stand, or outside the root."""

# Outside strings: the next bracket or string. A colon before a bracket means that the bracket
# begins the value of a key.
_MARK = re.compile(rb'"|[}\]]|(?::[ \t\r\n]*+)?[{\[]')
# Where documents stand: the next byte that is neither white space nor a comma.
_ITEM = re.compile(rb"[^ \t\r\n,]")
_ATOM = re.compile(rb'[^ \t\r\n,\[\]{}"]*+')
# Too deep for a key of a collection: all up to the next bracket with its colon, or to the end of
# the data in view.
_REST = re.compile(rb'(?:[^"{}\[\]:]++|"(?:[^"\\\n]++|\\[^\n])*+"|:(?![ \t\r\n]*+(?:[{\[]|\Z)))*+')
_INSIDE = re.compile(rb'(?:[^"\\\n]++|\\[^\n])*+')
_LINE = re.compile(rb"\n[ \t]*+\Z")
_BLANKS: Final = b" \t\r\n"


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the bytes of each document up to the limit, in constant memory."""
    return _Brackets(unmarked(stream)).records()


class _Brackets:
    """A walk over brackets and strings; the parser of a document reads everything else.

    So a fault between the brackets fails the document that it is in, and no other. Brackets that do
    not match damage a document; only then these rules apply. A closing bracket also closes all that
    is still open inside its own pair. The next document begins at an object that stands where the
    damaged document should have a key, or at an object that begins a line in the same way as the
    first document began its line.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._data, self._at = b"", 0
        self._mark = 0
        """The offset in the view of the last bracket, string or value that was met."""
        self._colon = False
        """Whether a colon stands before that bracket."""
        self._string = b""
        """The last string, if it is no longer than a key; else empty."""
        self._open = bytearray()
        """The closing brackets that are still missing, the innermost last."""
        self._deeper = 0
        self._rooted = False
        self._list: int | None = None
        """The number of open brackets directly in the list of documents; None outside of one."""
        self._last_list = b""
        self._line: bytes | None = None
        """The line feed and the indent before the first document; None if it begins no line."""
        self._listed = False
        self._damaged = False
        """Whether brackets did not match since the beginning of the last document."""
        self._base: int | None = None
        """The number of brackets open outside the record that is being read; None without one."""
        self._begin, self._oversize = 0, False
        self._alone, self._has_passages = False, False
        """Whether the record is the root of the data, and whether it has passages."""
        self._stopped = False

    def records(self) -> Iterator[RawRecord]:
        """Yield the documents, and the faults outside documents."""
        any_record = False
        while not self._stopped and (mark := self._next()):
            if self._is_inner(mark):
                continue
            for record in self._step(mark):
                any_record = True
                yield record
        if self._stopped:
            return
        if self._open or not self._rooted:
            yield RawRecord.broken("truncated", "not JSON, or its end is missing")
        elif not any_record:
            message = "no list `documents`, and no document with `passages`"
            yield RawRecord.broken("not_bioc", message)

    # --------------------------------------------------------------------------------- structure

    def _is_inner(self, mark: bytes) -> bool:
        """Handle a mark deep inside a record, as nearly all are; return False if it is another."""
        if self._base is None or self._damaged or self._deeper or len(self._open) < self._base + 3:
            return False
        kind, last = mark[0], self._open[-1]
        if kind == last:
            self._open.pop()
            return True
        if mark in (b"{", b"[") and (last == _OBJECT) == self._colon and len(self._open) < _DEEPEST:
            self._open.append(kind + 2)  # { is two before }, and [ before ]
            return True
        return mark == b'"'

    def _step(self, mark: bytes) -> Iterator[RawRecord]:
        """Handle a mark; yield the record that it ends, or a fault."""
        if mark == b'"':
            return
        if mark == b"{" and self._begins_as_documents_do():
            if self._base is not None:
                yield self._taken(self._mark)
            self._open, self._deeper = bytearray(self._last_list), 0
            self._list = len(self._open)
        if mark == _VALUE and self._base is not None:
            yield self._taken(self._at)
        elif not self._open and (self._rooted or mark not in (b"{", b"[")):
            if not (self._damaged and self._line):
                where = "after the end" if self._rooted else "at the beginning"
                yield RawRecord.broken("not_json", f"not JSON: there is text {where}")
                self._stopped = True
        elif mark in (b"{", b"["):
            yield from self._opened(mark)
        else:
            yield from self._closed(mark[0])

    def _begins_as_documents_do(self) -> bool:
        if not self._damaged or self._line is None:
            return False
        return self._data[max(0, self._mark - len(self._line)) : self._mark] == self._line

    def _opened(self, bracket: bytes) -> Iterator[RawRecord]:
        depth = len(self._open)
        if not depth:
            self._rooted = True
            if bracket == b"{":
                self._take()
                self._alone = True
        elif self._list == depth and self._base is None:
            self._take()
        elif not self._deeper and (self._open[-1] == _OBJECT) != self._colon:
            self._damaged = True
            if bracket == b"{" and self._list == depth - 1:
                yield self._taken(self._mark)  # it has no end: the next document begins here
                self._open.pop()
                self._take()
        elif bracket == b"[" and depth == 1 + (self._open[0] == _ARRAY):
            if self._string in _HOLDERS and (self._base is None or self._alone):
                self._base, self._alone = None, False
                self._last_list = bytes(self._open) + b"]"
                self._list = len(self._last_list)
            self._has_passages |= self._string == b"passages"
        if self._deeper or len(self._open) == _DEEPEST:
            self._deeper += 1
        else:
            self._open.append(_OBJECT if bracket == b"{" else _ARRAY)

    def _closed(self, closer: int) -> Iterator[RawRecord]:
        if self._deeper:
            self._deeper -= 1
            return
        if self._open[-1] == closer:
            self._open.pop()
        else:
            opened = self._open.rfind(closer, self._base or 0)
            if self._list == len(self._open) and self._base is None:
                if not self._damaged:
                    yield RawRecord.broken(
                        "not_json", "not JSON: there is a bracket between documents"
                    )
            elif opened >= 0:
                del self._open[opened:]
            self._damaged = True
        if self._base == len(self._open):
            if not self._alone or self._has_passages:
                yield self._taken(self._at)
            self._base = None
        if self._list is not None and len(self._open) < self._list:
            self._list = None

    def _take(self) -> None:
        """Begin a record at the mark."""
        if self._list is not None and not self._listed:
            self._listed = True
            line = _LINE.search(self._data[max(0, self._mark - _BEHIND) : self._mark])
            self._line = line and line[0]
        self._begin, self._oversize, self._base = self._mark, False, len(self._open)
        self._alone = self._has_passages = self._damaged = False

    def _taken(self, end: int) -> RawRecord:
        """Return the record that ends at `end`, or a fault if it is too large."""
        self._base = None
        if self._oversize or end - self._begin > MAX_RECORD_BYTES:
            message = f"a document is larger than {MAX_RECORD_BYTES >> 20} MiB"
            return RawRecord.broken("too_large", message)
        return RawRecord("document", self._data[self._begin : end])

    # ------------------------------------------------------------------------------------- bytes

    def _next(self) -> bytes:
        """Step behind the next bracket, string or value; return its kind, empty at the end."""
        values = self._base is None and len(self._open) == (self._list or 0)
        pattern = _ITEM if values else _MARK
        self._colon = False
        if len(self._open) > 2 and not values and (rest := _REST.match(self._data, self._at)):
            self._at = rest.end()
        while (mark := pattern.search(self._data, self._at)) is None:
            tail = self._data[self._at :].rstrip(_BLANKS)
            self._colon = tail.endswith(b":") if tail else self._colon
            self._at = len(self._data)
            if not self._read_on():
                return b""
        if self._colon:
            self._colon = not self._data[self._at : mark.start()].strip(_BLANKS)
        self._colon |= len(mark[0]) > 1
        self._mark, self._at = mark.end() - 1, mark.end()
        sign = self._data[self._mark : self._at]
        if sign in (b"{", b"[", b"}", b"]"):
            return sign
        if values and self._list is not None:
            self._take()
        if sign == b'"':
            self._pass_string()
        else:
            self._pass_atom()
        if values:
            return _VALUE
        length = self._at - self._mark - 2
        self._string = self._data[self._mark + 1 : self._at - 1] if length <= _LONGEST_KEY else b""
        return b'"'

    def _pass_string(self) -> None:
        """Step behind the end of a string; where documents begin lines, at most to a line end."""
        while True:
            inside = _INSIDE.match(self._data, self._at)
            self._at = inside.end() if inside else self._at
            rest = self._data[self._at : self._at + 2]
            if rest[:1] == b'"':
                self._at += 1
                return
            if rest[:1] == b"\n" or rest == b"\\\n":  # no valid string holds a line feed
                if self._line is not None:
                    self._damaged = True
                    self._at += rest[:1] == b"\\"
                    return
                self._at += 1
            elif not self._read_on():
                self._at = len(self._data)
                return

    def _pass_atom(self) -> None:
        while True:
            atom = _ATOM.match(self._data, self._at)
            self._at = atom.end() if atom else self._at
            if self._at < len(self._data) or not self._read_on():
                return

    def _read_on(self) -> bool:
        """Read a chunk and drop the bytes that were passed; return whether there was a chunk."""
        if self._base is not None and self._at - self._begin > MAX_RECORD_BYTES:
            self._oversize = True
        kept = self._at if self._base is None or self._oversize else self._begin
        kept = max(0, min(kept, self._at - _BEHIND))
        chunk = self._stream.read(max(_CHUNK, len(self._data) - kept))
        self._data = self._data[kept:] + chunk
        self._at, self._mark, self._begin = self._at - kept, self._mark - kept, self._begin - kept
        return bool(chunk)


def parse(raw: RawRecord) -> Document:
    """Turn a document that `scan` yielded into a Document; raises FormatError for a broken one."""
    return bioc.document_of(json_object(raw.data), raw.size)


def write(document: Document, annotations: Annotations) -> Written:
    """Write a document as one line of a collection."""
    values = bioc.values_of(document, annotations)
    return Written({".json": json.dumps(values, ensure_ascii=False).encode()}, Counter())


def _head(day: date) -> bytes:
    """The bytes of a collection before its first document."""
    says = {"source": bioc.SOURCE, "date": str(day), "key": bioc.KEY, "infons": {}}
    return json.dumps(says).removesuffix("}").encode() + b', "documents": [\n'


FORMAT = Format(
    "bioc-json",
    (".json",),
    scan,
    parse,
    "a document: passages, mentions, relations, events",
    writer=Writer(
        (".json",),
        write,
        head=_head,
        between=b",\n",
        tail=b"\n]}\n",
    ),
)

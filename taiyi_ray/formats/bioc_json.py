"""BioC JSON: a collection of documents (bioc.py says what is in one), or one document alone.

Documents are found in `{"documents": [...]}`, in a list of such collections (NCBI's BioC service)
and in `{"PubTator3": [...]}` (PubTator's). Lines of BioC documents are JSON lines (json_lines.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import BinaryIO, Final

import ijson

from taiyi_ray.formats import bioc
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, RawRecord, Writer, Written
from taiyi_ray.formats.json_lines import json_object
from taiyi_ray.formats.unmarked import unmarked
from taiyi_ray.records import Annotations, Document

_HOLDERS: Final = frozenset({"documents", "PubTator3"})
_DEEPEST = 100
_BRACKETS: Final = {"start_map": "{", "end_map": "}", "start_array": "[", "end_array": "]"}
_ARRAY: Final = "[]"


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the documents, each within the limit, as JSON; behind a fault no more is found."""
    found = False
    try:
        for record in _documents(stream):
            found = True
            yield record
    except (ijson.JSONError, ValueError) as error:
        reason = str(error).partition("\n")[0].partition("\\n")[0]
        kind = "truncated" if "premature EOF" in reason else "not_json"
        yield RawRecord.broken(kind, f"not JSON, or its end is missing: {reason}")
    else:
        if not found:
            message = "no list `documents`, and no document with `passages`"
            yield RawRecord.broken("not_bioc", message)


def _documents(stream: BinaryIO) -> Iterator[RawRecord]:
    """Follow the parser's events; take each object in a list of documents, or the only one."""
    path: list[str] = []
    taken: _Taken | None = None
    for event, value in ijson.basic_parse(unmarked(stream), use_float=True):
        if event == "map_key":
            path[-1] = value
            if len(path) == 1 and value in _HOLDERS:
                taken = None
        elif event in ("start_map", "start_array"):
            if _holds_documents(path) or (not path and event == "start_map"):
                taken = _Taken(depth=len(path))
            path.append(_ARRAY if event == "start_array" else "")
            if len(path) > _DEEPEST:
                raise ValueError(f"nested more than {_DEEPEST} deep")
        elif event in ("end_map", "end_array"):
            path.pop()
        elif _holds_documents(path):  # no document, and no other record will say so
            yield RawRecord("document", json.dumps(value).encode())
        if taken is not None:
            taken.add(event, value, len(path))
            if event.startswith("end_") and len(path) == taken.depth:
                yield from taken.record()
                taken = None


def _holds_documents(path: list[str]) -> bool:
    """Tell whether what begins here is an item of a list of documents: a collection's, or of one
    in a list of collections."""
    holder = path[1:] if path[:1] == [_ARRAY] else path
    return len(holder) == 2 and holder[0] in _HOLDERS and holder[1] == _ARRAY


class _Taken:
    """An object that is written again from the parser's events, up to the limit."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._pieces: list[str] = []
        self._size = 0
        self._comma = ""
        self._has_passages = False

    def add(self, event: str, value: object, depth: int) -> None:
        """Take in an event; `depth` is that of the innermost object or list behind it."""
        if event == "map_key":
            self._has_passages |= value == "passages" and depth == self.depth + 1
            piece = f"{self._comma}{json.dumps(value, ensure_ascii=False)}:"
            self._comma = ""
        elif event.startswith("end_"):
            piece, self._comma = _BRACKETS[event], ","
        elif event.startswith("start_"):
            piece, self._comma = self._comma + _BRACKETS[event], ""
        else:
            piece = self._comma + json.dumps(value, ensure_ascii=False)
            self._comma = ","
        self._size += len(piece.encode("utf-8", "surrogatepass"))
        if self._size > MAX_RECORD_BYTES:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def record(self) -> Iterator[RawRecord]:
        """The record of the object, none of one that is alone and has no passages."""
        if self._size > MAX_RECORD_BYTES:
            message = f"a document is larger than {MAX_RECORD_BYTES >> 20} MiB"
            yield RawRecord.broken("too_large", message)
        elif self.depth or self._has_passages:
            yield RawRecord("document", "".join(self._pieces).encode())


def parse(raw: RawRecord) -> Document:
    """Turn a document that `scan` yielded into a Document; raises FormatError for a broken one."""
    return bioc.document_of(json_object(raw.data))


def write(document: Document, annotations: Annotations) -> Written:
    """Write a document as one line of a collection."""
    values = bioc.values_of(document, annotations)
    return Written({".json": json.dumps(values, ensure_ascii=False).encode()}, Counter())


def _head(day: date) -> bytes:
    """The beginning of a collection."""
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

"""Records in JSON of any shape: JSON lines, the items of a list, or the values of an object.

The list or the object is the whole file, or stands at a path of keys in it (`questions` of BioASQ).
A huge one is read record by record: a walk over brackets and strings finds where a record ends,
and the parser of the record reads what is between. A bracket that is missing spoils all behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, Literal, Self

from pydantic import Field, model_validator

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_lines, json_value
from taiyi_ray.formats.format import MAX_RECORD_BYTES, FormatOptions, RawRecord
from taiyi_ray.formats.json_lines import flat, invalid, json_object
from taiyi_ray.formats.unmarked import unmarked

_CHUNK: Final = 1 << 16
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_BRACKET: Final = re.compile(rb'["{}\[\]]')
_INSIDE: Final = re.compile(rb'(?:[^"\\]++|\\[\s\S])*+')
_ATOM: Final = re.compile(rb'[^ \t\r\n,:\[\]{}"]*+')
_KEY: Final = re.compile(rb'"(?:[^"\\]++|\\[\s\S])*+"')
_LONGEST_KEY: Final = 1 << 10


class JsonOptions(FormatOptions):
    """How the records lie in a file of JSON."""

    layout: Literal["lines", "list", "keys"] = Field(
        "list",
        description="JSON `lines`; the items of a `list`; or the values of an object by their "
        "`keys`, which are ids",
    )
    path: list[str] = Field(
        [], description="the keys that lead to the list or object; without any, it is the file"
    )

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if self.path and self.layout == "lines":
            raise ValueError("path: leads to a list or an object, and lines are neither")
        return self


def scan(stream: BinaryIO, options: JsonOptions) -> Iterator[RawRecord]:
    """Yield the bytes of each record; of the values of an object, `{"KEY": VALUE}`."""
    if options.layout == "lines":
        yield from json_lines.scan(stream)
        return
    walk = _JsonWalk(unmarked(stream))
    try:
        if walk.next_byte() == b"":
            raise FormatError("empty", "the file is empty")
        for key in options.path:
            walk.enter(key)
        yield from walk.items() if options.layout == "list" else walk.values_by_key()
        if not options.path and walk.next_byte():
            raise FormatError("not_json", "not JSON: there is text after the end")
    except FormatError as error:
        yield RawRecord.broken(error.kind, str(error))


def record_of(raw: RawRecord, options: JsonOptions) -> tuple[str | None, dict[str, Any]]:
    """Return the key of a record (None if its layout has none) and its object."""
    record = json_object(raw.data)
    if options.layout != "keys":
        return None, record
    ((key, value),) = record.items()
    if not isinstance(value, dict):
        raise FormatError("invalid_record", f"{key!r:.80}: expected an object")
    return key, value


def text_at(record: Mapping[str, Any], *keys: str) -> str:
    """Return the string at the first of these keys that the record has; raises FormatError."""
    key = next((key for key in keys if key in record), None)
    if key is None:
        raise FormatError("invalid_record", f"the record has no {' or '.join(keys)}")
    value = record[key]
    if not isinstance(value, str):
        raise invalid(key, "a string", value)
    return value


def objects_at(record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects in the list at a key, none where the key is absent; raises FormatError."""
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(key, "a list of objects", value)
    return value


def id_of(record: Mapping[str, Any], *keys: str) -> str | None:
    """Return the id of a record, a string or a whole number, or None where it has none."""
    value = next((record[key] for key in keys if record.get(key) not in (None, "")), None)
    if value is not None and type(value) not in (str, int):
        raise invalid(keys[0], "a string or a whole number", value)
    return None if value is None else str(value)


def metadata_of(record: Mapping[str, Any], *read: str) -> dict[str, str]:
    """Return the values of a record that are not empty as metadata, without the keys read."""
    left = {key: value for key, value in record.items() if key not in read}
    return {key: flat(value) for key, value in left.items() if value not in (None, "", [], {})}


class _JsonWalk:
    """A walk over the values of a stream, of which only the record that is being read is kept."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._data, self._at = b"", 0
        self._begin: int | None = None
        self._oversize = False

    def next_byte(self) -> bytes:
        """Step over white space; return the byte that follows, empty at the end of the data."""
        while True:
            blanks = _BLANKS.match(self._data, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._data) or not self._read_on():
                return self._data[self._at : self._at + 1]

    def enter(self, wanted: str) -> None:
        """Step into an object, to the value of a key; raises FormatError."""
        self._expect(b"{", f"an object with the key {wanted!r}")
        while self.next_byte() != b"}":
            if self._key() == wanted:
                return
            self._value()
            self._comma(b"}")
        raise FormatError("not_found", f"the object has no key {wanted!r}")

    def items(self) -> Iterator[RawRecord]:
        """Yield the items of a list."""
        self._expect(b"[", "a list")
        while self.next_byte() != b"]":
            yield self._taken()
            self._comma(b"]")
        self._at += 1

    def values_by_key(self) -> Iterator[RawRecord]:
        """Yield the values of an object, each as an object of one key."""
        self._expect(b"{", "an object")
        while self.next_byte() != b"}":
            yield self._taken(keyed=True)
            self._comma(b"}")
        self._at += 1

    def _taken(self, *, keyed: bool = False) -> RawRecord:
        self._begin, self._oversize = self._at, False
        if keyed:
            self._key()
        self._value()
        begin, self._begin = self._begin, None
        if self._oversize or begin is None or self._at - begin > MAX_RECORD_BYTES:
            message = f"a record is larger than {MAX_RECORD_BYTES >> 20} MiB"
            return RawRecord.broken("too_large", message)
        data = self._data[begin : self._at]
        return RawRecord("record", b"{" + data + b"}" if keyed else data)

    def _expect(self, byte: bytes, what: str) -> None:
        found = self.next_byte()
        if found != byte:
            message = f"expected {what}, found {found.decode('utf-8', 'replace') or 'the end'!r}"
            raise FormatError("not_json", message)
        self._at += 1

    def _comma(self, closer: bytes) -> None:
        """Step over the comma behind a value; before the closing bracket there is none."""
        found = self.next_byte()
        if found == b",":
            self._at += 1
        elif found != closer:
            kind = "not_json" if found else "truncated"
            raise FormatError(kind, f"no , or {closer.decode()} behind a value")

    def _key(self) -> str:
        """Step over a key and its colon; return the key, or nothing of one that is very long."""
        if self.next_byte() != b'"':
            raise FormatError("not_json", "expected a key in quotes")
        while (key := _KEY.match(self._data, self._at)) is None:
            if len(self._data) - self._at > _LONGEST_KEY or not self._read_on():
                break
        if key is None:
            self._value()
        else:
            self._at = key.end()
        self._expect(b":", "a colon behind a key")
        if key is None or len(key[0]) > _LONGEST_KEY:
            return ""
        try:
            return str(json_value.loads(key[0].decode("utf-8", "replace")))
        except ValueError:
            return ""

    def _value(self) -> None:
        """Step over a value; raises FormatError where the data ends inside it."""
        first = self.next_byte()
        if first == b'"':
            self._at += 1
            self._string()
        elif first in (b"{", b"["):
            self._container()
        else:
            self._atom()

    def _container(self) -> None:
        depth = 0
        while True:
            mark = _BRACKET.search(self._data, self._at)
            if mark is None:
                self._at = len(self._data)
                if not self._read_on():
                    raise FormatError("truncated", "the data ends inside a record")
                continue
            self._at = mark.end()
            if mark[0] == b'"':
                self._string()
            else:
                depth += 1 if mark[0] in b"{[" else -1
            if not depth:
                return

    def _string(self) -> None:
        """Step behind the end of a string, whose opening quote was passed."""
        while True:
            inside = _INSIDE.match(self._data, self._at)
            self._at = inside.end() if inside else self._at
            if self._data[self._at : self._at + 1] == b'"':
                self._at += 1
                return
            if not self._read_on():
                raise FormatError("truncated", "the data ends inside a string")

    def _atom(self) -> None:
        passed = 0
        while True:
            atom = _ATOM.match(self._data, self._at)
            end = atom.end() if atom else self._at
            passed, self._at = passed + end - self._at, end
            if self._at < len(self._data) or not self._read_on():
                break
        if not passed:
            kind = "not_json" if self._at < len(self._data) else "truncated"
            raise FormatError(kind, "expected a value")

    def _read_on(self) -> bool:
        """Read a chunk and drop the bytes that were passed; return whether there was a chunk."""
        if self._begin is not None and self._at - self._begin > MAX_RECORD_BYTES:
            self._begin, self._oversize = None, True
        kept = self._at if self._begin is None else self._begin
        chunk = self._stream.read(max(_CHUNK, len(self._data) - kept))
        self._data = self._data[kept:] + chunk
        self._at -= kept
        if self._begin is not None:
            self._begin = 0
        return bool(chunk)

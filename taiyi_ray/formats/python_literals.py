"""Lines of Python literals: what `repr` writes of dictionaries, read by a field map.

    train@[{'id': '1', 'dialog': ['a', 'b']}, ...]

A line holds a dictionary, or a list of dictionaries, each of which is a record. Before it may stand
a word that says which lines belong together (DXY's dialogues). Nothing is run: only strings,
numbers, lists, tuples, dictionaries, True, False and None are read, no deeper than in JSON.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_value
from taiyi_ray.formats.fields import FieldMap, document_of
from taiyi_ray.formats.format import MAX_RECORD_BYTES, NamedFormat, RawRecord, decoded
from taiyi_ray.formats.json_fields import at_path
from taiyi_ray.formats.json_lines import lines
from taiyi_ray.formats.json_records import metadata_of
from taiyi_ray.records import Document

_STRING: Final = r"""'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+\""""
_MARK: Final = re.compile(rf"{_STRING}|[\[\](){{}},]".encode(), re.DOTALL)
_NO_STRING: Final = re.compile(rf"{_STRING}|[^'\"]++|['\"]", re.DOTALL)
# Outside strings: brackets, commas, numbers and the three words. A sign stands only before a number
# or in its exponent, so that no long sum can be nested deeply.
_PLAIN: Final = re.compile(
    r"(?:[\s\[\](){},:]|(?<![\w.])-?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][-+]?[0-9]{1,4})?"
    r"|\b(?:True|False|None)\b)*+"
)


_SUM: Final = re.compile(r"(?:[0-9.)\]}]|True|False|None)\s*-")


class PythonLiteralsOptions(FieldMap):
    """Which lines are read, and which key is what."""

    prefix: str = Field("", description="what the lines that are read begin with: `train@`")


def scan(stream: BinaryIO, options: PythonLiteralsOptions) -> Iterator[RawRecord]:
    """Yield each dictionary of the lines that begin with the prefix."""
    prefix = options.prefix.encode()
    nothing = True
    for line in lines(stream):
        if line is None:
            nothing = False
            message = f"a line is longer than {MAX_RECORD_BYTES >> 20} MiB"
            yield RawRecord.broken("too_large", message)
        elif line.strip() and line.startswith(prefix):
            nothing = False
            yield from _items(line[len(prefix) :].strip())
    if nothing:
        what = f"no line begins with {options.prefix!r}" if prefix else "the file is empty"
        yield RawRecord.broken("empty", what)


def _items(line: bytes) -> Iterator[RawRecord]:
    """Yield the items of a list, or the line itself if it is no list."""
    if not line.startswith(b"["):
        yield RawRecord("literal", line)
        return
    depth, begin = 0, 1
    for mark in _MARK.finditer(line):
        if mark[0] in (b"[", b"(", b"{"):
            depth += 1
        elif mark[0] in (b"]", b")", b"}"):
            depth -= 1
        if depth == 0 or (depth == 1 and mark[0] == b","):
            if item := line[begin : mark.start()].strip():
                yield RawRecord("literal", item)
            begin = mark.end()
        if depth == 0:
            break
    if depth or line[begin:].strip():
        yield RawRecord.broken("truncated", "the list has no end, or there is text behind it")


def parse(raw: RawRecord, options: PythonLiteralsOptions) -> Document:
    """Turn a dictionary into a Document; raises FormatError."""
    record = _literal(decoded(raw.data, "line"))
    if not isinstance(record, dict):
        raise FormatError("invalid_record", f"expected a dictionary, found {type(record).__name__}")
    document = document_of(lambda path: at_path(record, path), options)
    document.metadata = metadata_of(record, *(name.partition(".")[0] for name in options.named()))
    return document


def _literal(text: str) -> Any:
    """Read a literal; raises FormatError for anything else, and for one that is too deep."""
    outside = "".join(" " if part[0] in "'\"" and len(part) > 1 else part
                      for part in _NO_STRING.findall(text))  # fmt: skip
    deepest = depth = 0
    for character in outside:
        depth += (character in "[({") - (character in "])}")
        deepest = max(deepest, depth)
    if deepest > json_value.DEEPEST or not _PLAIN.fullmatch(outside) or _SUM.search(outside):
        raise FormatError("not_a_literal", "not a plain Python literal, or nested too deep")
    try:
        value = _with_lists(ast.literal_eval(text))
        json_value.size(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        message = f"not a Python literal of strings, numbers, lists and dictionaries: {error}"
        raise FormatError("not_a_literal", message) from None
    return value


def _with_lists(value: Any) -> Any:
    """Return a value with lists in place of its tuples."""
    if isinstance(value, dict):
        return {key: _with_lists(inner) for key, inner in value.items()}
    return [_with_lists(one) for one in value] if isinstance(value, list | tuple) else value


FORMAT = NamedFormat(
    "python-literals",
    PythonLiteralsOptions,
    scan,
    parse,
    "a dictionary in a line of Python literals: what its field map says",
)

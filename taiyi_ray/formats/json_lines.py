"""JSON Lines: one document a line, as an object (https://jsonlines.org/).

    document_id   string or whole number, required
    text          the text; or
    passages      a list of {"text": ..., "type": ..., "language": ...}
    title         becomes the first passage
    language      of all passages that name none; without it, by script
    version       whole number
    metadata      an object

Any other key goes to the metadata. Values there become strings; those of a list are joined by "; ".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, RawRecord
from taiyi_ray.records import Document, passages

_CHUNK = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"
_KEYS: Final = frozenset(
    {"document_id", "text", "passages", "title", "language", "version", "metadata"}
)


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield each line that is not blank; memory holds a chunk and one line within the limit."""
    empty = True
    for line in lines(stream):
        if line is None:
            message = f"a line is longer than {MAX_RECORD_BYTES >> 20} MiB"
            yield RawRecord.broken("too_large", message)
        elif line.strip():
            yield RawRecord("line", line)
        else:
            continue
        empty = False
    if empty:
        yield RawRecord.broken("empty", "the file is empty")


def lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines without their ends, None for one over the limit."""
    first, rest, skipping = True, bytearray(), False
    while chunk := stream.read(_CHUNK):
        *ended, last = chunk.split(b"\n")
        for part in ended:
            line, rest = bytes(rest) + part, bytearray()
            if first:
                line, first = line.removeprefix(_BOM), False
            yield None if skipping or len(line) > MAX_RECORD_BYTES else line.removesuffix(b"\r")
            skipping = False
        rest += last
        if skipping or len(rest) > MAX_RECORD_BYTES + len(_BOM):
            rest, skipping = bytearray(), True
    if skipping:
        yield None
    elif rest:
        line = bytes(rest).removeprefix(_BOM) if first else bytes(rest)
        yield None if len(line) > MAX_RECORD_BYTES else line


def parse(raw: RawRecord) -> Document:
    """Turn one line into a Document; raises FormatError that names what is wrong with it."""
    record = _object(raw.data)
    document_id = _document_id(record.get("document_id"))
    version = record.get("version")
    if version is not None and (type(version) is not int or not 0 <= version < 1 << 31):
        raise _invalid("version", "a whole number", version)
    stated = _string(record, "language")
    title = _string(record, "title")
    parts = _parts(record)
    if title:
        parts.insert(0, ("title", None, title))
    laid = passages(
        (type_, language.normalised(own or stated or language.of_text(text)), text)
        for type_, own, text in parts
    )
    return Document(
        document_id,
        laid,
        version,
        language.normalised(stated) if stated else None,
        title,
        _metadata(record),
    )


def _object(line: bytes) -> dict[str, Any]:
    """Read the line as a JSON object of valid Unicode strings."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not valid UTF-8: {error.reason} at byte {error.start} of the line"
        raise FormatError("encoding", message) from None
    try:
        record = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError("not_json", f"not a line of JSON: {error}") from None
    if not isinstance(record, dict):
        raise FormatError("invalid_record", f"expected an object, found {_named(record)}")
    # Only an escape can smuggle a lone surrogate past the decoder above.
    if "\\u" in text:
        try:
            json.dumps(record, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            message = "a string holds a lone surrogate (\\ud800 to \\udfff): not valid Unicode"
            raise FormatError("invalid_record", message) from None
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _document_id(value: object) -> str:
    if value is None or value == "":
        raise FormatError("no_document_id", "the record has no document_id")
    if type(value) not in (str, int):
        raise _invalid("document_id", "a string or a whole number", value)
    return str(value)


def _parts(record: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    """Return (type, language as stated, text) of each passage."""
    given = record.get("passages")
    if given is None:
        text = _string(record, "text")
        if text is None:
            raise FormatError("invalid_record", "the record has neither text nor passages")
        return [("text", None, text)]
    if record.get("text") is not None:
        message = "the record has both text and passages: give one of them"
        raise FormatError("invalid_record", message)
    if not isinstance(given, list):
        raise _invalid("passages", "a list", given)
    parts = []
    for number, passage in enumerate(given):
        place = f"passages[{number}]"
        if not isinstance(passage, dict):
            raise _invalid(place, "an object", passage)
        text = _string(passage, "text", f"{place}.")
        if text is None:
            raise FormatError("invalid_record", f"{place} has no text")
        if unknown := sorted(passage.keys() - {"text", "type", "language"}):
            message = f"{place} has a key that is not known: {unknown[0]!r}"
            raise FormatError("invalid_record", message)
        type_ = _string(passage, "type", f"{place}.") or "text"
        parts.append((type_, _string(passage, "language", f"{place}."), text))
    return parts


def _string(record: dict[str, Any], key: str, place: str = "") -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise _invalid(place + key, "a string", value)
    return value


def _metadata(record: dict[str, Any]) -> dict[str, str]:
    """Return the metadata with the keys that have no place of their own."""
    given = record.get("metadata")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise _invalid("metadata", "an object", given)
    extra = {key: value for key, value in record.items() if key not in _KEYS}
    return {key: _flat(value) for key, value in {**extra, **given}.items() if value is not None}


def _flat(value: object) -> str:
    """Return a metadata value as one string: text as it is, a list joined, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(map(_flat, value))
    return json.dumps(value, ensure_ascii=False)


def _invalid(place: str, expected: str, found: object) -> FormatError:
    return FormatError("invalid_record", f"{place} must be {expected}, not {_named(found)}")


def _named(value: object) -> str:
    """Say what kind of JSON value this is."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


FORMAT = Format("json lines", (".jsonl",), scan, parse)

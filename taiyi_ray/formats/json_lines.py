"""JSON Lines: one document a line, as an object (https://jsonlines.org/).

    document_id   string or whole number, required
    text          the text; or
    passages      a list of {"text": ..., "type": ..., "language": ...}
    title         becomes the first passage, unless a passage has that text already
    language      of all passages that state none; without it, the script decides
    version       whole number
    metadata      an object
    mentions, relations, events, labels, texts
                  gold annotations, as in the columns of our rows (docs/columns.md); offsets are
                  half-open, in characters of the passages joined by one line feed

Any other key goes to the metadata. Its value becomes a string; the values of a list are joined by
"; ".
A line that has `id` and `passages`, and no `document_id`, is a BioC document (bioc.py).
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, BinaryIO, Final, get_args

from taiyi_ray.config import Key
from taiyi_ray.errors import FormatError
from taiyi_ray.formats import bioc, json_value, language
from taiyi_ray.formats.format import (
    MAX_RECORD_BYTES,
    Format,
    RawRecord,
    Writer,
    Written,
    decoded,
)
from taiyi_ray.formats.gold import Gold, placed
from taiyi_ray.formats.unmarked import unmarked
from taiyi_ray.records import (
    Annotations,
    Document,
    Failure,
    annotations_from_row,
    as_values,
    passages,
)

_CHUNK = 1 << 20
_KEYS: Final = frozenset(get_args(Key))
_NO_UNICODE: Final = "a string holds a lone surrogate (\\ud800 to \\udfff): not valid Unicode"
_ANNOTATIONS: Final = tuple(field.name for field in fields(Annotations))
"""The keys of gold annotations."""


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield each line that is not blank; the memory holds a chunk and one line up to the limit."""
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
    """Yield the lines in UTF-8 without their ends; None for a line over the limit.

    A byte order mark is removed from the beginning of every line, because it may stand inside a
    file that was joined from others.
    """
    stream = unmarked(stream)
    rest, skipping = bytearray(), False
    while chunk := stream.read(_CHUNK):
        *ended, last = chunk.split(b"\n")
        for part in ended:
            line, rest = (bytes(rest) + part).removeprefix(BOM_UTF8), bytearray()
            yield None if skipping or len(line) > MAX_RECORD_BYTES else line.removesuffix(b"\r")
            skipping = False
        rest += last
        if skipping or len(rest) > MAX_RECORD_BYTES + len(BOM_UTF8):
            rest, skipping = bytearray(), True
    if skipping:
        yield None
    elif rest:
        line = bytes(rest).removeprefix(BOM_UTF8)
        yield None if len(line) > MAX_RECORD_BYTES else line


def parse(raw: RawRecord) -> Document:
    """Turn one line into a Document; raises FormatError that names the fault of the line."""
    return document_of(_renamed(json_object(raw.data), raw.columns), raw.size)


def object_document(record: Mapping[str, Any], default_id: str) -> Document:
    """Turn an object with the keys of a line into a Document.

    Args:
        record: the object, of values that JSON has: dictionaries, lists, strings, numbers, True,
            False and None.
        default_id: the id of the document if the object has none.

    Raises:
        FormatError: the object has a fault, which the message names.
    """
    try:
        size = json_value.size(record)
    except UnicodeEncodeError:
        raise FormatError("invalid_record", _NO_UNICODE) from None
    except ValueError as error:
        raise FormatError("not_json", str(error)) from None
    if "document_id" not in record and not _is_bioc(record):
        record = {"document_id": default_id, **record}
    return document_of(dict(record), size)


def _is_bioc(record: Mapping[str, Any]) -> bool:
    return "document_id" not in record and "id" in record and "passages" in record


def document_of(record: dict[str, Any], size: int) -> Document:
    """Turn the object of a line into a Document.

    Args:
        record: the object, which is changed.
        size: the bytes of its line.

    Raises:
        FormatError: the object has a fault, which the message names.
    """
    if _is_bioc(record):
        return bioc.document_of(record, size)
    stated_gold = {key: record.pop(key) for key in _ANNOTATIONS if _are_objects(record.get(key))}
    document_id = _document_id(record.get("document_id"))
    version = record.get("version")
    if version is not None and (type(version) is not int or not 0 <= version < 1 << 31):
        raise invalid("version", "a whole number", version)
    stated = _string(record, "language")
    title = _string(record, "title")
    parts = _parts(record)
    if title and title not in (text for _, _, text in parts):
        parts.insert(0, ("title", None, title))
    laid = passages(
        (type_, language.normalised(own or stated or language.of_text(text)), text)
        for type_, own, text in parts
    )
    document = Document(
        document_id,
        laid,
        version,
        language.normalised(stated) if stated else None,
        title,
        _metadata(record),
    )
    if stated_gold:
        try:
            _give_gold(document, stated_gold)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            document.gold = Annotations()
            message = (
                f"annotations that do not have the form of our rows became metadata: {error!r}"
            )
            document.errors.append(Failure("gold_left_out", document_id, message))
            document.metadata |= {key: flat(value) for key, value in stated_gold.items()}
    return document


def _renamed(record: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Rename the keys that the source has other names for; `columns` maps key to that name."""
    if not columns:
        return record
    rest = {k: v for k, v in record.items() if k not in columns and k not in columns.values()}
    return rest | {key: record.get(name) for key, name in columns.items()}


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _give_gold(document: Document, stated_gold: dict[str, Any]) -> None:
    """Add the annotations of a line to the document's gold, checked against its text.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: they have not the form of our rows.
    """
    rows = annotations_from_row(stated_gold)
    gold = Gold(document, [passage.offset for passage in document.passages])
    for mention in rows.mentions:
        stated: list[tuple[object, object]] = [(span.start, span.end) for span in mention.spans]
        if not stated and (mention.start, mention.end) != (None, None):
            stated = [(mention.start, mention.end)]
        ranges, misplaced = placed(stated)
        gold.mention(
            str(mention.id),
            mention.type,
            mention.text,
            ranges,
            misplaced=misplaced,
            concept=mention.concept,
            score=mention.score,
            grounded=mention.grounded,
        )
    for relation in rows.relations:
        texts = (relation.head_text, relation.tail_text)
        head, tail = ([str(n) for n in ids] for ids in (relation.head, relation.tail))
        gold.relation(str(relation.id), relation.type, head, tail, texts, relation.score)
    for event in rows.events:
        trigger = None if event.trigger is None else str(event.trigger)
        arguments = [
            (a.role, None if a.mention is None else str(a.mention), a.text) for a in event.arguments
        ]
        gold.event(f"E{event.id}", event.type, trigger, arguments)
    gold.settle()
    document.gold.labels += rows.labels
    document.gold.texts += rows.texts


def json_object(line: bytes) -> dict[str, Any]:
    """Read a record as a JSON object of valid Unicode strings; raises FormatError."""
    text = decoded(line, "line")
    try:
        record = json_value.loads(text)
    except ValueError as error:
        raise FormatError("not_json", f"not a line of JSON: {error}") from None
    if not isinstance(record, dict):
        raise FormatError("invalid_record", f"expected an object, found {_named(record)}")
    # The decoder above refuses lone surrogates, unless they are written as escapes.
    if "\\u" in text:
        try:
            json.dumps(record, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise FormatError("invalid_record", _NO_UNICODE) from None
    return record


def _document_id(value: object) -> str:
    if value is None or value == "":
        raise FormatError("no_document_id", "the record has no document_id")
    if type(value) not in (str, int):
        raise invalid("document_id", "a string or a whole number", value)
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
        raise invalid("passages", "a list", given)
    parts = []
    for number, passage in enumerate(given):
        name = f"passages[{number}]"
        if not isinstance(passage, dict):
            raise invalid(name, "an object", passage)
        text = _string(passage, "text", f"{name}.")
        if text is None:
            raise FormatError("invalid_record", f"{name} has no text")
        if unknown := sorted(passage.keys() - {"text", "type", "language", "offset"}):
            message = f"{name} has a key that is not known: {unknown[0]!r}"
            raise FormatError("invalid_record", message)
        type_ = _string(passage, "type", f"{name}.") or "text"
        parts.append((type_, _string(passage, "language", f"{name}."), text))
    return parts


def _string(record: dict[str, Any], key: str, prefix: str = "") -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise invalid(prefix + key, "a string", value)
    return value


def _metadata(record: dict[str, Any]) -> dict[str, str]:
    """Return the metadata, with the keys of the record that no field of a Document holds."""
    given = record.get("metadata")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise invalid("metadata", "an object", given)
    extra = {key: value for key, value in record.items() if key not in _KEYS}
    return {key: flat(value) for key, value in {**extra, **given}.items() if value is not None}


def flat(value: object) -> str:
    """Convert a metadata value to a string: a list is joined, any other value becomes JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(map(flat, value))
    return json.dumps(value, ensure_ascii=False)


def invalid(name: str, expected: str, value: object) -> FormatError:
    """Make the error of a key whose value is of another kind than expected."""
    return FormatError("invalid_record", f"{name} must be {expected}, not {_named(value)}")


def _named(value: object) -> str:
    """Say what kind of JSON value this is."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


# --------------------------------------------------------------------------------------- writing


def write(document: Document, annotations: Annotations) -> Written:
    """Write a document as a line that gives the same document when it is read."""
    texts = [passage.text for passage in document.passages]
    title = document.title if document.title in texts else None  # reading would add it as a passage
    line = {
        "document_id": document.document_id,
        "version": document.version,
        "language": document.language,
        "title": title,
        "metadata": document.metadata,
        "passages": [
            {"type": p.type, "language": p.language, "text": p.text} for p in document.passages
        ],
        **as_values(annotations),
    }
    lost = Counter({"titles that are no passage: left out": title != document.title})
    data = json.dumps({k: v for k, v in line.items() if v is not None}, ensure_ascii=False)
    return Written({".jsonl": data.encode() + b"\n"}, +lost)


FORMAT = Format(
    "jsonl",
    (".jsonl",),
    scan,
    parse,
    "a line: text or passages, all annotations; a BioC document",
    writer=Writer((".jsonl",), write, losses="a title that is no passage"),
)

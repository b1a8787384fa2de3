"""File formats, one module each: the bytes of a source -> raw records -> Documents, and back.

For people: `for document in formats.read("pubmed.xml.gz"): ...`

Adding a format: one module with `scan` and `parse`, one line in FORMATS, tests beside the others. A
format whose files nothing tells apart is chosen by its name, and stands in NAMED.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike, fspath
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any, BinaryIO, Final, Literal, cast, get_args, get_origin

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, FormatError, TaiyiError, nearest
from taiyi_ray.formats import (
    bioasq,
    bioc_json,
    bioc_xml,
    brat,
    cblue,
    conll,
    delimited,
    instructions,
    jats,
    json_fields,
    json_lines,
    knowtator,
    labelled_lines,
    mediqa,
    parallel,
    parquet,
    plain_text,
    pubmed,
    pubtator,
    python_literals,
    relations_xml,
)
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, NamedFormat, RawRecord, whole
from taiyi_ray.formats.gunzip import Gunzip
from taiyi_ray.formats.unmarked import unmarked
from taiyi_ray.records import Document, Failure, brief

_log = logging.getLogger(__name__)

FORMATS: tuple[Format, ...] = (
    pubmed.FORMAT,
    jats.FORMAT,
    bioc_xml.FORMAT,
    bioc_json.FORMAT,
    pubtator.FORMAT,
    brat.FORMAT,
    json_lines.FORMAT,
    parquet.FORMAT,
    plain_text.FORMAT,
)

NAMED: tuple[NamedFormat, ...] = (
    conll.FORMAT,
    delimited.FORMAT,
    delimited.SHEET,
    json_fields.FORMAT,
    python_literals.FORMAT,
    cblue.FORMAT,
    bioasq.FORMAT,
    instructions.FORMAT,
    parallel.FORMAT,
    relations_xml.FORMAT,
    knowtator.FORMAT,
    labelled_lines.FORMAT,
    mediqa.FORMAT,
)
"""The formats that are chosen by their names, because nothing in a file tells them."""

WRITTEN: dict[str, Format] = {
    **{format_.name: format_ for format_ in FORMATS if format_.writer},
    **{format_.name: format_.bound({}) for format_ in NAMED if format_.writer},
}
"""The formats that are written, by name. One with options is as it is without any."""

_HEAD = 1 << 16
"""The most bytes at the beginning of a file that decide between formats with the same ending."""

Read = Callable[[str], bytes | None]
"""A function that returns the bytes of the object at an address, or None where there is no object.
Of an object larger than MAX_RECORD_BYTES it may return only the beginning, if that is larger than
MAX_RECORD_BYTES too."""

UNREADABLE: Final = "unreadable"
"""The kind of a failure that no reader expected: a bug of this program or of a library."""

_FRAMES: Final = 20
"""The most frames of the call stack that the log shows for such a failure."""

_logged: set[tuple[str, str]] = set()
"""The failures of this kind that this process has logged: (format, name of the exception)."""


def endings() -> str:
    """The file name endings of all formats, for messages."""
    return ", ".join(dict.fromkeys(f"{s}[.gz]" for f in FORMATS for s in f.suffixes))


def named(name: str, options: Mapping[str, Any] | None = None) -> Format:
    """Return the format of this name, with its options.

    Args:
        name: the name of any format.
        options: the options of a format in NAMED; the other formats have none.

    Raises:
        ConfigError: no format has this name, or an option is wrong.
    """
    for by_name in NAMED:
        if by_name.name == name:
            return by_name.bound(options or {})
    for format_ in FORMATS:
        if format_.name == name:
            if options:
                raise ConfigError(f"format {name}: takes no options, got {', '.join(options)}")
            return format_
    names = [*(f.name for f in FORMATS), *(f.name for f in NAMED)]
    raise ConfigError(f"unknown format {name!r}{nearest(name, names)} (known: {', '.join(names)})")


def version_of(name: str) -> int:
    """Return the version of the format of this name, which no option of it changes.

    Raises:
        ConfigError: no format has this name.
    """
    versions = {format_.name: format_.version for format_ in NAMED}
    return versions[name] if name in versions else named(name).version


def _candidates(path: str) -> list[Format]:
    name = _plain_name(path).lower()
    return [format_ for format_ in FORMATS if name.endswith(format_.suffixes)]


def format_of(path: str) -> Format | None:
    """Return the format that a file's name alone indicates, or None.

    When formats share the ending, the result is the one without `recognises`: it reads the files
    that none of the others recognises.
    """
    candidates = _candidates(path)
    return next((f for f in candidates if f.recognises is None), next(iter(candidates), None))


def recognised(path: str, stream: BinaryIO) -> Format | None:
    """Return the format of an open source by its name, and if need be by its first bytes."""
    candidates = _candidates(path)
    if len(candidates) > 1:
        stream.seek(0)
        head = _head(unmarked(_unzipped(stream, path)))
        stream.seek(0)
        for candidate in candidates:
            if candidate.recognises is not None and _recognises(candidate, head, path):
                return candidate
    return format_of(path)


def _recognises(format_: Format, head: bytes, path: str) -> bool:
    try:
        return format_.recognises is not None and format_.recognises(head)
    except Exception as error:
        _unexpected(error, format_, path)
        return False


def _head(stream: BinaryIO) -> bytes:
    head = b""
    while len(head) < _HEAD and (chunk := stream.read(_HEAD - len(head))):
        head += chunk
    return head


def beside(path: str, format_: Format | None = None) -> set[str]:
    """Return the addresses of the files that belong to a source. They need not exist.

    Args:
        path: the address of the source.
        format_: its format; without it, all formats that its name allows.
    """
    addresses = set()
    for one in [format_] if format_ else _candidates(path):
        for ending, others in one.beside.items():
            if _plain_name(path).lower().endswith(ending):
                zipped = path[len(path) - 3 :] if path.lower().endswith(".gz") else ""
                stem = path[: len(path) - len(zipped) - len(ending)]
                addresses |= {f"{_other(stem, other)}{z}" for other in others for z in {"", zipped}}
    return addresses


def _other(stem: str, other: str) -> str:
    """Return the address of a file beside a source, whose address without its ending is `stem`."""
    if "/" not in other:
        return stem + other
    folder, _, name = stem.rpartition("/")
    way, _, pattern = other.rpartition("/")
    scheme, mark, below = folder.rpartition("://")
    inside = normpath(f"{below or '.'}/{way}")
    return f"{scheme}{mark}{'' if inside == '.' else inside + '/'}{pattern.replace('*', name)}"


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _plain_name(path: str) -> str:
    name = _name(path)
    return name[:-3] if name.lower().endswith(".gz") else name


def _unzipped(stream: BinaryIO, path: str) -> BinaryIO:
    return cast(BinaryIO, Gunzip(stream)) if path.lower().endswith(".gz") else stream


def raw_records(
    stream: BinaryIO, path: str, format_: Format, read: Read | None = None
) -> Iterator[RawRecord]:
    """Yield the raw records of an open source.

    A fault that ends the scan is the last record. Where compressed data is damaged or ends early,
    that record has the fault `truncated`, and replaces the record that was cut off.

    Args:
        stream: the open source; a `.gz` is uncompressed on the way.
        path: its address, whose ending tells whether it is compressed.
        format_: its format.
        read: gets the files that lie beside the source; without it none are read.

    Raises:
        TaiyiError, OSError, MemoryError: the source cannot be read now.
    """
    unzipped = _unzipped(stream, path)
    records = _scanned(unzipped, path, format_)
    if format_.beside and read is not None:
        records = _with_beside(records, path, format_, read)
    if not isinstance(unzipped, Gunzip):
        yield from records
        return
    last: RawRecord | None = None
    for record in records:
        if last is not None:
            yield last
        last = record
    if unzipped.damage:
        message = f"the compressed data is damaged or ends early: {unzipped.damage}"
        last = RawRecord.broken("truncated", message)
    if last is not None:
        yield last


def _scanned(stream: BinaryIO, path: str, format_: Format) -> Iterator[RawRecord]:
    try:
        yield from format_.scan(stream)
    except FormatError as error:
        yield RawRecord.broken(error.kind, str(error))
    except (TaiyiError, OSError, MemoryError):
        raise  # the store or this machine is at fault: a later run can read the rest
    except Exception as error:
        yield RawRecord.broken(UNREADABLE, _unexpected(error, format_, path))


def _unexpected(error: Exception, format_: Format, where: str) -> str:
    """Return the message of an unexpected error; log the first of each kind with its traceback."""
    message = brief(f"{type(error).__name__}: {error}")
    if (format_.name, type(error).__name__) not in _logged:
        _logged.add((format_.name, type(error).__name__))
        frames = "".join(traceback.format_tb(error.__traceback__)[-_FRAMES:])
        _log.error(
            "%s: an error that no reader of %s expects (more of its kind are not logged)\n%s%s",
            where, format_.name, frames, message,
        )  # fmt: skip
    return message


def _with_beside(
    records: Iterator[RawRecord], path: str, format_: Format, read: Read
) -> Iterator[RawRecord]:
    """Add the files beside the source to each record; if one is too large, every record fails."""
    files, fault = {}, None
    for other in sorted(beside(path, format_)):
        packed = read(other)
        if packed is None:
            continue
        unzipped = _unzipped(io.BytesIO(packed), other)
        record = whole(unzipped, "")
        if record.fault or len(packed) > MAX_RECORD_BYTES:
            message = f"{_name(other)} beside it is larger than {MAX_RECORD_BYTES >> 20} MiB"
            fault = RawRecord.broken("too_large", message)
        elif not isinstance(unzipped, Gunzip) or not unzipped.damage:  # damaged: as if absent
            files[PurePosixPath(_plain_name(other)).suffix.lower()] = record.data
    for record in records:
        yield record if record.fault else fault or replace(record, beside=files)


def read_beside(path: str) -> bytes | None:
    """Read a file that lies beside a source; of one that is too large, only the beginning."""
    return storage.read(path, MAX_RECORD_BYTES + 1)


def read(address: str | PathLike[str], *, columns: Mapping[str, str] | None = None) -> Documents:
    """Read a file of any of the formats, one document at a time.

    Use:
        for document in read("pubmed26n0001.xml.gz"):
            print(document.document_id, document.title)

    A broken record gives a document with the status `failed` and the reason in its `errors`. So
    does a fault of the file itself.

    Args:
        address: a path, or `s3://bucket/key`; `.gz` is uncompressed on the way. The ending of the
            name decides the format; where formats share its ending, the first bytes decide.
        columns: the names that the columns of JSON lines or Parquet have in this file, by the keys
            of a document: `{"text": "abstract"}`.

    Returns:
        The documents, in order. Each iteration reads the file anew.

    Raises:
        ConfigError: the address is a folder, or a file of no known format.
        StorageError: the file does not exist or cannot be read.
    """
    path = storage.absolute(fspath(address))
    if storage.is_folder(path):
        raise ConfigError(f"{address}: is a folder; name one of its files")
    with storage.open_read(path) as stream:
        format_ = recognised(path, stream)
    if format_ is None:
        raise ConfigError(f"{address}: is not of a known format (known: {endings()})")
    return Documents(path, format_, columns)


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of a file; each iteration reads the file anew.

    Attributes:
        path: the address of the file.
        format: the format that it is read as.
        columns: the file's own names for the keys of a document, by key.
    """

    path: str
    format: Format
    columns: Mapping[str, str] | None = None

    def __iter__(self) -> Iterator[Document]:
        with storage.open_read(self.path) as stream:
            yield from documents(
                stream,
                self.path,
                self.format,
                self.path,
                0,
                sys.maxsize - 1,
                read=read_beside,
                columns=self.columns,
            )


def documents(
    stream: BinaryIO,
    path: str,
    format_: Format,
    source: str,
    first: int,
    last: int,
    *,
    read: Read | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Document]:
    """Yield the Documents at some positions of a source; a broken record becomes a `failed` one.

    A Document without an id of its own gets the name of its file as id.

    Args:
        stream: the open source.
        path: its address, whose ending tells whether it is compressed.
        format_: its format.
        source: the name of the source, for `Document.source`.
        first, last: the first and the last position, both included.
        read: gets the files that lie beside the source; without it none are read.
        columns: the source's own names for the keys of a document, by key.
    """
    records = islice(raw_records(stream, path, format_, read), first, last + 1)
    for position, record in enumerate(records, first):
        document = document_of(record, format_, f"{path}, record {position}", columns)
        if document.status != "failed":
            document.document_id = document.document_id or _stem(path, format_)
        document.source, document.position = source, position
        yield document


def document_of(
    record: RawRecord, format_: Format, where: str, columns: Mapping[str, str] | None = None
) -> Document:
    """Turn a record into a Document; a record with any fault becomes a `failed` one.

    Args:
        record: a record that `raw_records` yielded.
        format_: the format of its source.
        where: what a failure states in `Failure.where`.
        columns: the source's own names for the keys of a document, by key.
    """

    def parsed() -> Document:
        if record.fault is not None:
            raise FormatError(record.fault, record.data.decode())
        document = format_.parse(replace(record, columns=columns) if columns else record)
        if sum(len(passage.text) for passage in document.passages) > record.size:
            raise FormatError("too_large", "the text would be longer than the record")
        return document

    return _or_failed(parsed, format_, where)


def document_from_value(
    value: object, number: int, where: str, *, language: str | None = None
) -> Document:
    """Make a Document of a text, or of an object with the keys of JSON lines.

    Any other value becomes a `failed` Document, as a broken record of a file does.

    Args:
        value: a string or a mapping.
        number: its position, which is also its id if it has none of its own.
        where: what a failure states in `Failure.where`.
        language: the language if the value names none; without it, the script decides.
    """

    def made() -> Document:
        if not isinstance(value, str | Mapping):
            message = f"expected a text or an object, found {type(value).__name__}"
            raise FormatError("invalid_record", message)
        given = {"text": value} if isinstance(value, str) else dict(value)
        stated = {"language": language} if language else {}
        return json_lines.object_document({**stated, **given}, str(number))

    document = _or_failed(made, json_lines.FORMAT, where)
    document.position = number
    return document


def _or_failed(make: Callable[[], Document], format_: Format, where: str) -> Document:
    """Return the Document that `make` makes, or a `failed` one with the reason if it raises."""
    try:
        return make()
    except FormatError as error:
        failure = Failure(error.kind, where, str(error))
    except Exception as error:
        failure = Failure(UNREADABLE, where, _unexpected(error, format_, where))
    return Document(None, status="failed", errors=[failure])


def _stem(path: str, format_: Format) -> str:
    """Return the name of the file without the format's ending and `.gz`."""
    name = _plain_name(path)
    endings_ = format_.suffixes or (PurePosixPath(name).suffix.lower(),)
    ending = next((s for s in endings_ if name.lower().endswith(s)), "")
    return name[: len(name) - len(ending)] or name


def markdown() -> str:
    """The formats as a table for docs/formats.md; a test keeps that page equal to it."""
    lines = ["| Format | Endings | A record | Written | Lost in writing |", "|---|---|---|---|---|"]
    for format_ in FORMATS:
        endings = " ".join(f"`{suffix}`" for suffix in format_.suffixes)
        writer = format_.writer
        written = " and ".join(f"`{ending}`" for ending in writer.endings) if writer else ""
        losses = writer.losses if writer else ""
        name = f"`{format_.name}`"
        lines.append(f"| {name} | {endings} | {format_.records} | {written} | {losses} |")
    return "\n".join(lines) + "\n"


def markdown_of_named() -> str:
    """The formats that are chosen by name, and their options, as tables for docs/formats.md."""
    lines = ["| Format | A record | Written | Lost in writing |", "|---|---|---|---|"]
    for format_ in NAMED:
        writer = format_.writer
        written = " and ".join(f"`{ending}`" for ending in writer.endings) if writer else ""
        losses = writer.losses if writer else ""
        lines.append(f"| `{format_.name}` | {format_.records} | {written} | {losses} |")
    lines += ["", "| Format | Option | Default | Meaning |", "|---|---|---|---|"]
    shown: set[tuple[str, str | None]] = set()
    for format_ in NAMED:
        for name, option in format_.options.model_fields.items():
            default = "required" if option.is_required() else f"`{option.default!r}`"
            values = [f"`{value}`" for value in _values_of(option.annotation)]
            meaning = (option.description or "").replace("|", "\\|")
            meaning += f"; values: {', '.join(values)}" if values else ""
            if (name, meaning) not in shown:  # an option that several formats have stands once
                shown.add((name, meaning))
                having = [f for f in NAMED if _has_option(f, name, option.description)]
                names = " ".join(f"`{f.name}`" for f in having)
                lines.append(f"| {names} | `{name}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _values_of(annotation: Any) -> list[str]:
    """Return the values that an option may have, or its items or keys, if they are a few names."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for inner in get_args(annotation) for value in _values_of(inner)]


def _has_option(format_: NamedFormat, name: str, description: str | None) -> bool:
    option = format_.options.model_fields.get(name)
    return option is not None and option.description == description

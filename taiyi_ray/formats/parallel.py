"""Parallel text: a file a language, in which the same line says the same (the form of Moses).

The source is the file in the language that is read. The other file lies beside it and has the same
name with another ending. Each line is a document; the line of the other file is its translation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import BinaryIO, Literal

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.format import (
    MAX_RECORD_BYTES,
    FormatOptions,
    NamedFormat,
    RawRecord,
    decoded,
)
from taiyi_ray.formats.json_lines import lines
from taiyi_ray.formats.unmarked import unmarked_bytes
from taiyi_ray.records import Document, Text, passages


class ParallelOptions(FormatOptions):
    """The endings of the two files, and the language of the translation."""

    ending: str = Field(
        pattern=r"^\.[^/*]+$", description="the ending of the file that is read: `.en`"
    )
    other: str = Field(
        pattern=r"^\.[^/*]+$", description="the ending of the file with the translation: `.zh`"
    )
    to: Literal["en", "zh"] = Field(description="the language of the translation")


def _beside(options: ParallelOptions) -> Mapping[str, tuple[str, ...]]:
    return {options.ending.lower(): (options.other,)}


def scan(stream: BinaryIO, options: ParallelOptions) -> Iterator[RawRecord]:
    """Yield each line with its number before it, blank lines too: they stand for a line there."""
    nothing = True
    for number, line in enumerate(lines(stream)):
        nothing = False
        if line is None:
            message = f"a line is longer than {MAX_RECORD_BYTES >> 20} MiB"
            yield RawRecord.broken("too_large", message)
        else:
            yield RawRecord("line", b"%d\t%b" % (number, line))
    if nothing:
        yield RawRecord.broken("empty", "the file is empty")


def parse(raw: RawRecord, options: ParallelOptions) -> Document:
    """Turn a line into a Document whose gold is the same line of the other file."""
    number, _, line = raw.data.partition(b"\t")
    text = decoded(line, "line").strip()
    other = raw.beside.get(PurePosixPath(f"a{options.other}").suffix.lower())
    if other is None:
        message = f"there is no {options.other} file of this name beside it"
        raise FormatError("no_translation", message)
    translations = _lines_of(other)
    if int(number) >= len(translations):
        message = f"line {int(number) + 1}: the {options.other} file has {len(translations)} lines"
        raise FormatError("not_parallel", message)
    translation = decoded(translations[int(number)], "translation").strip()
    document = Document(str(int(number) + 1), passages([("text", language.of_text(text), text)]))
    if translation:
        document.gold.texts.append(Text(f"mt:{options.to}", translation))
    return document


@lru_cache(maxsize=2)
def _lines_of(data: bytes) -> list[bytes]:
    """Return the lines of a file beside a source; each of its records asks for them."""
    found = [line.removesuffix(b"\r") for line in unmarked_bytes(data).split(b"\n")]
    return found[:-1] if found[-1] == b"" else found


FORMAT = NamedFormat(
    "parallel",
    ParallelOptions,
    scan,
    parse,
    "a line: a text and its translation, the same line of a file beside it",
    beside=_beside,
)

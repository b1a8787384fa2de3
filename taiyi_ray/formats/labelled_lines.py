"""A text with a sentence a line, and the labels of the sentences in a file beside it.

    text/11724768.txt     GHS-R is found in hepatoma cells .
                          Exposure to ghrelin caused up-regulation .
    labels/11724768.txt   < <Sustaining proliferative signaling--Receptors ANDResisting cell death

The Hallmarks of Cancer corpus has this form (https://github.com/sb895/Hallmarks-of-Cancer): before
the labels of each sentence stands `<`, between two labels ` AND`, and below a class, behind `--`,
its subclasses. A document has the classes of all its sentences, each once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.format import FormatOptions, NamedFormat, RawRecord, decoded, whole
from taiyi_ray.formats.unmarked import unmarked
from taiyi_ray.records import Document, Label, passages

_ENDING = ".txt"
_BEFORE, _BETWEEN, _BELOW = "<", " AND", "--"


class LabelledLinesOptions(FormatOptions):
    """Where the labels are, and what task they are for."""

    labels: str = Field(
        min_length=1, description="the folder of the labels, from that of the texts: `../labels`"
    )
    task: str = Field("tc", min_length=1, description="the task of the labels")


def _beside(options: LabelledLinesOptions) -> Mapping[str, tuple[str, ...]]:
    return {_ENDING: (f"{options.labels.rstrip('/')}/*{_ENDING}",)}


def scan(stream: BinaryIO, options: LabelledLinesOptions) -> Iterator[RawRecord]:
    """Yield the text of one document as one record; a file beside it holds the labels."""
    yield whole(unmarked(stream), "text")


def parse(raw: RawRecord, options: LabelledLinesOptions) -> Document:
    """Turn the lines of a text into passages, and the labels beside them into gold."""
    if _ENDING not in raw.beside:
        raise FormatError("no_labels", "there is no file of this name in the folder of the labels")
    lines = [line.strip() for line in decoded(raw.data, "text").rstrip("\r\n").split("\n")]
    stated = decoded(raw.beside[_ENDING], "file of labels").split(_BEFORE)
    # What stands before the first sign belongs to no sentence.
    before, of_lines = stated[0], stated[1:]
    if before.strip() or len(of_lines) != len(lines):
        message = f"{len(of_lines)} lists of labels for {len(lines)} sentences"
        raise FormatError("malformed", message)
    classes = (
        label.partition(_BELOW)[0].strip() for one in of_lines for label in one.split(_BETWEEN)
    )
    document = Document(
        None, passages(("sentence", language.of_text(line), line) for line in lines)
    )
    document.gold.labels = [Label(options.task, name) for name in dict.fromkeys(classes) if name]
    return document


FORMAT = NamedFormat(
    "labelled-lines",
    LabelledLinesOptions,
    scan,
    parse,
    "a text of sentences: the labels of them all, from a file beside it",
    beside=_beside,
)

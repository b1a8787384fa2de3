"""Rows as objects: annotated documents, to look at, to compute with, and to convert.

rows = ty.annotate(texts, types=["disease"])
rows[0].mentions, rows[0].to_dict(), rows.to_arrow(), rows.to_pandas()

for row in ty.read_rows("out/"):
    print(row.document_id, [mention.text for mention in row.mentions])
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

from taiyi_ray import storage
from taiyi_ray.corpus.output import JOB
from taiyi_ray.corpus.units import Units
from taiyi_ray.errors import ConfigError
from taiyi_ray.highlight.static import cards
from taiyi_ray.records import (
    SCHEMA,
    Annotations,
    Answer,
    Document,
    Event,
    Failure,
    Label,
    Mention,
    Passage,
    Relation,
    Text,
    annotations_from_row,
    document_from_row,
    rows_of,
)

if TYPE_CHECKING:
    import pandas as pd


class Row:
    """A document with its annotations, and with the model's answers.

    Args:
        values: a row of `records.SCHEMA` (docs/columns.md); `metadata` as pairs or a dictionary.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {**values, "metadata": dict(values["metadata"])}

    @cached_property
    def document(self) -> Document:
        """The document without its annotations; it can be annotated again, even if it failed."""
        document = document_from_row(self._values)
        if document.passages and document.status != "deleted":
            document.status, document.errors = "ok", []
        return document

    @cached_property
    def annotations(self) -> Annotations:
        """All annotations of the document."""
        return annotations_from_row(self._values)

    @property
    def document_id(self) -> str | None:
        """PMID or the record's own id."""
        return self.document.document_id

    @property
    def title(self) -> str | None:
        """The title, if it has one."""
        return self.document.title

    @property
    def text(self) -> str:
        """The passages, joined by one line feed; offsets count its code points."""
        return self.document.text

    @property
    def passages(self) -> list[Passage]:
        """The parts of the text."""
        return self.document.passages

    @property
    def metadata(self) -> dict[str, str]:
        """Other facts that the source has about the document: journal, date, doi ..."""
        return self.document.metadata

    @property
    def status(self) -> str:
        """`ok`, `partial`, `failed` or `deleted`."""
        return str(self._values["status"])

    @cached_property
    def errors(self) -> list[Failure]:
        """The errors of the document, and the reasons why a task had nothing to ask about it."""
        return [Failure(**error) for error in self._values["errors"]]

    @property
    def mentions(self) -> list[Mention]:
        """The mentions in the text: `row.text[mention.start:mention.end] == mention.text`."""
        return self.annotations.mentions

    @property
    def relations(self) -> list[Relation]:
        """Typed pairs of names in the text; `head` and `tail` are ids of mentions."""
        return self.annotations.relations

    @property
    def events(self) -> list[Event]:
        """The events, with trigger and arguments."""
        return self.annotations.events

    @property
    def labels(self) -> list[Label]:
        """The classes of the document."""
        return self.annotations.labels

    @property
    def texts(self) -> list[Text]:
        """Texts that the model wrote about the document: translations, titles, answers ..."""
        return self.annotations.texts

    @cached_property
    def answers(self) -> list[Answer]:
        """The model's answers, as it wrote them."""
        return [Answer(**answer) for answer in self._values["answers"]]

    @property
    def fingerprint(self) -> str:
        """The digest of all settings that can change an answer."""
        return str(self._values["fingerprint"])

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of the row as plain values, such as JSON has."""
        return copy.deepcopy(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # it is equal by its values, which are lists

    def __repr__(self) -> str:
        counts = [
            f"{len(self._values[name]):,} {name}"
            for name in ("mentions", "relations", "events", "labels", "texts")
            if self._values[name]
        ]
        name = f"{self._values['document_id']!r}, {self._values['status']}"
        return f"<Row {', '.join([name, *counts])}>"

    def _repr_html_(self) -> str:
        return cards([self._values])


class Rows(Sequence[Row]):
    """A sequence of rows.

    Args:
        rows: from any source, for example `Rows(islice(read_rows("out/"), 100))`.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = list(rows)

    @overload
    def __getitem__(self, which: int) -> Row: ...

    @overload
    def __getitem__(self, which: slice) -> Rows: ...

    def __getitem__(self, which: int | slice) -> Row | Rows:
        return Rows(self._rows[which]) if isinstance(which, slice) else self._rows[which]

    def __len__(self) -> int:
        return len(self._rows)

    def to_arrow(self) -> pa.Table:
        """Return a table with the columns that the corpus job writes (docs/columns.md)."""
        values = [row._values for row in self._rows]
        pairs = [{**one, "metadata": list(one["metadata"].items())} for one in values]
        return pa.Table.from_pylist(pairs, SCHEMA)

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame; `metadata` is a dictionary, lists are arrays of dictionaries.

        Use:
            A line for each mention:
            `pd.DataFrame([asdict(m) for row in rows for m in row.mentions])`
        """
        frame: pd.DataFrame = self.to_arrow().to_pandas(maps_as_pydicts="strict")
        return frame

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Rows of {len(self):,} documents>"

    def _repr_html_(self) -> str:
        return cards([row._values for row in self._rows])


def read_rows(output: str | PathLike[str]) -> Iterator[Row]:
    """Read the rows of an output of `taiyi-ray annotate`, whether its job is complete or not.

    Use:
        for row in read_rows("out/"):
            print(row.document_id, row.status, len(row.mentions))

    Rows come in the order of their sources' names, and within a source in its order. One unit
    (1,000 rows at most) is in memory at a time; it is read when its first row is needed.

    Args:
        output: the folder that was the job's `--output`, local or `s3://`.

    Raises:
        ConfigError: the folder is not an output of this program.
        StorageError: the output cannot be read.
    """
    address = storage.absolute(fspath(output))
    if not storage.exists(storage.join(address, JOB)):
        raise ConfigError(f"{output}: no output of `taiyi-ray annotate` is there (no job.json)")
    units = Units(storage.join(address, "annotations"), ".parquet")
    paths = [storage.join(units.address, name + units.ending) for name in sorted(units.committed())]
    return (Row(row) for path in paths for row in rows_of(storage.read_table(path)))

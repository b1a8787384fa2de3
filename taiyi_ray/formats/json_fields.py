"""JSON of any shape, read by a field map: PubMedQA, MedQA, MedMCQA, CMB, ChineseBLUE and the like.

A field is a path of keys, divided by dots: `QA_pairs.answer` is the answer of each item in the list
`QA_pairs`. `@key` is the key of the record, where the records are the values of an object. Lists
that go together (`mention_data.mention`, `mention_data.offset`) keep their order and their gaps.

Some corpora repeat a text for each relation in it, as the marked sentences of ChemProt do. With
`merge` such lines are one record: apart, each would say that the others' relations are absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO, Final, Self

from pydantic import Field, model_validator

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_records
from taiyi_ray.formats.fields import FieldMap, document_of
from taiyi_ray.formats.format import NamedFormat, RawRecord
from taiyi_ray.formats.gold import Gold
from taiyi_ray.formats.json_records import JsonOptions, metadata_of, record_of
from taiyi_ray.formats.line_record import LineRecord
from taiyi_ray.records import Annotations, Document

_KEY: Final = "@key"


class JsonFieldsOptions(JsonOptions, FieldMap):
    """Where the records are, and which key is what."""

    merge: bool = Field(
        False,
        description="whether lines in a row that are equal but for their marks and relation are "
        "one document, with the relations of them all",
    )

    @model_validator(mode="after")
    def _can_merge(self) -> Self:
        # The gold of marks is two mentions and relations between them, which can be told apart.
        others = self.labels or self.texts or self.fields.keys() & {"mention", "term", "tags"}
        if self.merge and (self.layout != "lines" or not self.marks or others):
            raise ValueError("merge: joins lines with marks, and no other gold beside them")
        return self


def scan(stream: BinaryIO, options: JsonFieldsOptions) -> Iterator[RawRecord]:
    """Yield the bytes of each record; with `merge`, of all lines that become one document."""
    records = json_records.scan(stream, options)
    if not options.merge:
        yield from records
        return
    lines = LineRecord("line")
    last: Document | None = None
    for record in records:
        document = _bare(record, options)
        if document is None or document != last:
            yield from lines.taken()
        if document is None:
            yield record
        else:
            lines.add(record.data)
        last = document
    yield from lines.taken()


def _bare(record: RawRecord, options: JsonFieldsOptions) -> Document | None:
    """What a line says besides its gold; None for a broken one."""
    try:
        return None if record.fault else replace(_document(record, options), gold=Annotations())
    except FormatError:
        return None


def parse(raw: RawRecord, options: JsonFieldsOptions) -> Document:
    """Turn a record into a Document; raises FormatError."""
    if not options.merge:
        return _document(raw, options)
    return _merged([_document(replace(raw, data=d), options) for d in raw.data.split(b"\n")])


def _document(raw: RawRecord, options: JsonFieldsOptions) -> Document:
    key, record = record_of(raw, options)

    def get(path: str) -> list[object]:
        return [key] if path == _KEY else at_path(record, path)

    document = document_of(get, options)
    document.metadata = metadata_of(record, *(name.partition(".")[0] for name in options.named()))
    return document


def _merged(documents: Sequence[Document]) -> Document:
    """Return one document of several that differ in gold alone, with each annotation once."""
    document = replace(documents[0], gold=Annotations())
    gold = Gold(document, [passage.offset for passage in document.passages])
    known: set[object] = set()
    for one in documents:
        places = {m.id: (m.start or 0, m.end or 0) for m in one.gold.mentions}
        for mention in one.gold.mentions:
            if (place := places[mention.id]) not in known:
                known.add(place)
                gold.mention(str(place), mention.type, mention.text, [place])
        for relation in one.gold.relations:
            (head,), (tail,) = (
                [str(places[id_]) for id_ in ids] for ids in (relation.head, relation.tail)
            )
            if (stated := (relation.type, head, tail)) not in known:
                known.add(stated)
                gold.relation(str(len(known)), relation.type, [head], [tail])
    gold.settle()
    return document


def at_path(record: object, path: str) -> list[object]:
    """Return the values at a path of keys; an item of a list that lacks the key counts as None."""
    return _at(record, path.split("."))


def _at(value: object, keys: list[str]) -> list[object]:
    if isinstance(value, list):
        return [found for item in value for found in (_at(item, keys) if keys else [item])]
    if not keys:
        return [value]
    if not isinstance(value, dict) or keys[0] not in value:
        return [None]
    return _at(value[keys[0]], keys[1:])


FORMAT = NamedFormat(
    "json",
    JsonFieldsOptions,
    scan,
    parse,
    "an object: what its field map says",
)

"""JSON of any shape, read by a field map: PubMedQA, MedQA, MedMCQA, CMB, ChineseBLUE and the like.

A field is a path of keys, divided by dots: `QA_pairs.answer` is the answer of each item in the list
`QA_pairs`. `@key` is the key of the record, where the records are the values of an object. Lists
that go together (`mention_data.mention`, `mention_data.offset`) keep their order and their gaps.
"""

from __future__ import annotations

from typing import Final

from taiyi_ray.formats import json_records
from taiyi_ray.formats.fields import FieldMap, document_of
from taiyi_ray.formats.format import NamedFormat, RawRecord
from taiyi_ray.formats.json_records import JsonOptions, metadata_of, record_of
from taiyi_ray.records import Document

_KEY: Final = "@key"


class JsonFieldsOptions(JsonOptions, FieldMap):
    """Where the records are, and which key is what."""


def parse(raw: RawRecord, options: JsonFieldsOptions) -> Document:
    """Turn a record into a Document; raises FormatError."""
    key, record = record_of(raw, options)

    def get(path: str) -> list[object]:
        return [key] if path == _KEY else at_path(record, path)

    document = document_of(get, options)
    document.metadata = metadata_of(record, *(name.partition(".")[0] for name in options.named()))
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
    json_records.scan,
    parse,
    "an object: what its field map says",
)

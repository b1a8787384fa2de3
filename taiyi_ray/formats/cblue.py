"""CBLUE's JSON: the forms of the Chinese biomedical benchmark (github.com/CBLUEbenchmark/CBLUE).

    mentions   {"text": ..., "entities": [{"start_idx": 3, "end_idx": 9, "type": "bod",
               "entity": ...}]}                              CMeEE; the end is the last character
    triples    {"text": ..., "spo_list": [{"predicate": ..., "subject": ..., "subject_type": ...,
               "object": {"@value": ...}, "object_type": {"@value": ...}}]}       CMeIE, in lines
    terms      {"text": ..., "normalized_result": "A##B"}                                CHIP-CDN
    class      {"text" or "query": ..., "label": ...}                         CHIP-CTC, KUAKE-QIC
    pair       {"text1": ..., "text2": ..., "label": ...}; {"query1": ..., "query2": ...};
               {"query": ..., "title": ...}                            CHIP-STS, KUAKE-QQR, -QTR

A triple has no offsets: its ends are all places of the two surfaces (unplaced.py). Of `terms`, the
text is a mention of each standard term; a term's own name is its identifier.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_records, language
from taiyi_ray.formats.format import NamedFormat, RawRecord
from taiyi_ray.formats.gold import Gold, placed, whole
from taiyi_ray.formats.json_lines import invalid
from taiyi_ray.formats.json_records import (
    JsonOptions,
    id_of,
    metadata_of,
    objects_at,
    record_of,
    text_at,
)
from taiyi_ray.formats.unplaced import Unplaced
from taiyi_ray.records import Concept, Document, Label, passages

_BETWEEN_TERMS = "##"
_BLANKS = " \t\r\n\ufeff\u3000"


class CblueOptions(JsonOptions):
    """Which form the records have."""

    form: Literal["mentions", "triples", "terms", "class", "pair"] = Field(
        description="what is annotated"
    )
    task: str | None = Field(
        None,
        min_length=1,
        description="the task of the labels; without it, `tc` for a class, `similarity` for a pair",
    )
    type: str = Field("term", description="the type of the mentions of `terms`")


def parse(raw: RawRecord, options: CblueOptions) -> Document:
    """Turn one record into a Document with its gold annotations."""
    key, record = record_of(raw, options)
    if options.form == "pair":
        document = _pair(record)
    else:
        text = text_at(record, "text", "query")
        document = Document(None, passages([("text", language.of_text(text), text)]))
    document.document_id = key or id_of(record, "id")
    gold = Gold(document, [passage.offset for passage in document.passages])
    if options.form == "mentions":
        _mentions(gold, record)
    elif options.form == "triples":
        _triples(gold, Unplaced(gold, document), record)
    elif options.form == "terms":
        _terms(gold, document.text, record, options.type)
    else:
        task = options.task or ("similarity" if options.form == "pair" else "tc")
        _label(document, record, task)
    gold.settle()
    document.metadata = metadata_of(record, *_READ)
    return document


_READ = (
    *("id", "text", "query", "title", "text1", "text2", "query1", "query2"),
    *("entities", "spo_list", "normalized_result", "label"),
)


def _pair(record: dict[str, Any]) -> Document:
    """Return a document of the two texts of a pair."""
    first = text_at(record, "text1", "query1", "query")
    second = text_at(record, "text2", "query2", "title")
    texts = (("text_1", first), ("text_2", second))
    return Document(None, passages((type_, language.of_text(text), text) for type_, text in texts))


def _label(document: Document, record: dict[str, Any], task: str) -> None:
    """Give the document its label; a test set has none, or an empty one."""
    label = record.get("label")
    if label is not None and type(label) not in (str, int):
        raise invalid("label", "a string or a whole number", label)
    if label not in (None, ""):
        document.gold.labels.append(Label(task, str(label)))


def _mentions(gold: Gold, record: dict[str, Any]) -> None:
    for number, entity in enumerate(objects_at(record, "entities")):
        end = whole(entity.get("end_idx"))
        stated = (entity.get("start_idx"), entity.get("end_idx") if end is None else end + 1)
        ranges, misplaced = placed([stated])
        text, type_ = text_at(entity, "entity"), text_at(entity, "type")
        gold.mention(str(number), type_, text, ranges, misplaced=misplaced)


def _triples(gold: Gold, unplaced: Unplaced, record: dict[str, Any]) -> None:
    for number, triple in enumerate(objects_at(record, "spo_list")):
        subject, predicate = text_at(triple, "subject"), text_at(triple, "predicate")
        objects, types = triple.get("object"), triple.get("object_type")
        if not isinstance(objects, dict) or not isinstance(types, dict):
            raise FormatError("invalid_record", "object and object_type must be objects")
        head = unplaced.mentions(text_at(triple, "subject_type"), subject)
        for role in objects:
            surface = text_at(objects, role)
            tail = unplaced.mentions(text_at(types, role), surface)
            type_ = predicate if role == "@value" else f"{predicate}_{role}"
            if head and tail:
                texts = (subject.strip(), surface.strip())
                gold.relation(f"{number}-{role}", type_, head, tail, texts)


def _terms(gold: Gold, text: str, record: dict[str, Any], type_: str) -> None:
    stated = record.get("normalized_result")
    if stated is None:
        return
    start = len(text) - len(text.lstrip(_BLANKS))
    surface = text.strip(_BLANKS)
    terms = text_at(record, "normalized_result").split(_BETWEEN_TERMS)
    for number, term in enumerate(dict.fromkeys(t.strip().strip('"').strip() for t in terms)):
        if term and surface:
            place = [(start, start + len(surface))]
            gold.mention(str(number), type_, surface, place, concept=Concept("", term, term))


FORMAT = NamedFormat(
    "cblue",
    CblueOptions,
    json_records.scan,
    parse,
    "an object: a text or two; mentions, triples, standard terms or a label",
)

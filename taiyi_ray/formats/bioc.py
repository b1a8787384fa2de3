"""BioC: what its XML form and its JSON form have in common, as the dictionaries of the JSON form.

    document    id, infons, passages, annotations, relations
    passage     offset, infons, text or sentences, annotations, relations
    sentence    offset, infons, text, annotations, relations
    annotation  id, infons, text, locations (each offset, length)
    relation    id, infons, nodes (each refid, role)

BioC is described by Comeau et al. 2013 (doi:10.1093/database/bat064, http://bioc.sourceforge.net).
Offsets count characters of the whole document; each passage states where it begins.

The infon `type` is an annotation's type. Its concept is the infon `identifier`, or the infon whose
name is that of a terminology (`MESH`, `NCBI Gene`). A fault in an annotation or a relation affects
only that one: it gets no offsets, or is left out. There are three kinds of relations, besides those
of our own writer:

    of concepts   the infons `role1` and `role2` (PubTator 3: `Gene|5444` in XML, an object with
                  `type` and `identifier` in JSON; its one node adds nothing), or no nodes and
                  two infons (BioRED: `entity1` and `entity2`)
    of mentions   two nodes, none with the role `trigger`
    an event      any other nodes
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, cast, get_args

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_value, language
from taiyi_ray.formats.concepts import concept_of
from taiyi_ray.formats.gold import Gold, in_order, said, whole
from taiyi_ray.records import (
    Annotations,
    Concept,
    Document,
    Event,
    Grounded,
    Mention,
    Passage,
    Relation,
    annotations_from_row,
    as_values,
    passages,
)

Values = dict[str, Any]

_TERMINOLOGIES: Final = frozenset(
    {
        *("mesh", "medic", "omim", "ncbi gene", "gene", "ncbi taxonomy", "species", "chebi"),
        *("uniprot", "go", "cellosaurus", "dbsnp", "rsid", "umls", "hpo", "mondo"),
    }
)
_ROLE: Final = re.compile(r"(?:([A-Za-z][A-Za-z _-]+)\|)?(.*)", re.DOTALL)
# Infons of a document that our own writer fills from fields other than the metadata.
_TITLE, _LANGUAGE, _VERSION = "title", "language", "version"
_OF_DOCUMENT: Final = ("labels", "texts")
"""The annotations that BioC has no element for: our own writer puts them into infons."""


# --------------------------------------------------------------------------------------- reading


def document_of(record: object, size: int) -> Document:
    """Turn a BioC document into a Document with its gold annotations.

    Args:
        record: the document in the JSON form.
        size: the bytes of the record, which the text must not exceed.

    Raises:
        FormatError: `invalid_record`, `no_document_id` or `too_large`.
    """
    record = _object(record, "the document")
    document_id = record.get("id")
    if document_id in (None, ""):
        raise FormatError("no_document_id", "the document has no id")
    own = _Passages(size)
    for number, passage in enumerate(_list(record, "passages")):
        own.add(_object(passage, f"passages[{number}]"))
    infons = _infons(record)
    stated = infons.pop(_LANGUAGE, None)
    parts = own.parts(language.normalised(stated) if stated else None)
    title = infons.pop(_TITLE, None) or next((t for k, _, t in parts if k == "title" and t), None)
    version = infons.pop(_VERSION, "")
    own_infons = {name: infons.pop(name, None) for name in _OF_DOCUMENT}
    document = Document(
        str(document_id),
        passages(parts),
        int(version) if version.isdecimal() and len(version) < 10 else None,
        language.normalised(stated) if stated else None,
        title,
        {**own.metadata, **infons},
    )
    # The document leaves out passages without a text: `home` has the numbers that the others get.
    kept = [n for n, (_, _, text) in enumerate(parts) if text]
    home = {n: at for at, n in enumerate(kept)}
    gold = Gold(document, [own.bases[n] for n in kept])
    listed = [(home.get(n), holder) for n, holder in own.holders]
    _annotations(gold, [*listed, (None, record)])
    gold.settle()
    _labels_and_texts(document, own_infons)
    return document


class _Passages:
    """The passages of a document, and the objects in them that hold annotations.

    Args:
        most_blanks: the most blanks that may be put between sentences, in all passages together.
    """

    def __init__(self, most_blanks: int) -> None:
        self._blanks = most_blanks
        self.bases: list[int] = []
        self.holders: list[tuple[int, Values]] = []
        self.metadata: dict[str, str] = {}
        self._parts: list[tuple[str, str | None, str]] = []

    def add(self, passage: Values) -> None:
        infons = _infons(passage)
        type_ = infons.pop("type", None) or infons.pop("section_type", None) or "text"
        stated = infons.pop("language", None)
        if not self.bases:  # NCBI puts the metadata of an article into its first passage
            self.metadata = infons
        base = _whole(passage, "offset")
        text = _string(passage, "text") or ""
        self.holders.append((len(self.bases), passage))
        sentences = [_object(one, "a sentence") for one in _list(passage, "sentences")]
        self.holders += ((len(self.bases), sentence) for sentence in sentences)
        if not text:
            text = "".join(self._joined(sentences, base))
        self.bases.append(base)
        self._parts.append((type_, stated, text))

    def _joined(self, sentences: Sequence[Values], base: int) -> Iterator[str]:
        """Yield the texts of sentences, and before each the blanks that bring it to its offset."""
        length = 0
        for sentence in sentences:
            at, text = _whole(sentence, "offset"), _string(sentence, "text") or ""
            blanks = max(0, at - base - length)
            self._blanks -= blanks
            if self._blanks < 0:
                message = f"a sentence at {at}: the text would be longer than its record"
                raise FormatError("too_large", message)
            yield " " * blanks
            yield text
            length += blanks + len(text)

    def parts(self, stated: str | None) -> list[tuple[str, str, str]]:
        return [
            (type_, language.normalised(own) if own else stated or language.of_text(text), text)
            for type_, own, text in self._parts
        ]


def _annotations(gold: Gold, holders: Sequence[tuple[int | None, Values]]) -> None:
    for home, holder in holders:
        _each(gold, holder, "annotations", partial(_annotation, gold, home))
    for _, holder in holders:
        _each(gold, holder, "relations", partial(_relation, gold))


def _each(gold: Gold, holder: Values, key: str, read: Callable[[Values], None]) -> None:
    """Read the objects of a list; one that is not as BioC defines it is left out and counted."""
    listed = holder.get(key) or []
    for item in listed if isinstance(listed, list) else [None]:
        try:
            read(_object(item, f"one of {key}"))
        except FormatError:
            gold.leave_out(f"{key} that are not of the format")


def _annotation(gold: Gold, home: int | None, annotation: Values) -> None:
    infons = _infons(annotation)
    ranges, misplaced = _ranges(_list(annotation, "locations"))
    grounded = infons.get("grounded", "exact")
    gold.mention(
        str(annotation.get("id", "")),
        infons.get("type"),
        _string(annotation, "text"),
        ranges,
        misplaced=misplaced,
        home=home,
        concept=_concept(infons),
        score=_score(infons, "score"),
        grounded=cast(Grounded, grounded) if grounded in get_args(Grounded) else "exact",
    )


def _ranges(locations: Sequence[object]) -> tuple[list[tuple[int, int]], str]:
    """The ranges of locations; or no ranges, and a description of the location that is no range."""
    ranges: list[tuple[int, int]] = []
    for location in locations:
        stated = _object(location, "a location")
        start, length = whole(stated.get("offset")), whole(stated.get("length"))
        if start is None or length is None:
            words = (said(stated.get(key)) for key in ("offset", "length"))
            return [], "offset {}, length {}".format(*words)
        ranges.append((start, start + length))
    return ranges, ""


def _concept(infons: dict[str, str]) -> Concept | None:
    if "concept_id" in infons:
        concept = Concept(infons.get("concept_db", ""), infons["concept_id"])
    elif identifier := concept_of(infons.get("identifier")):
        concept = identifier
    else:
        named = [(k, v) for k, v in infons.items() if k.lower() in _TERMINOLOGIES and v]
        if not named or (concept_of(named[0][1])) is None:
            return None
        concept = Concept(*named[0])
    concept.name = infons.get("concept_name")
    concept.score = _score(infons, "concept_score")
    return concept


def _relation(gold: Gold, relation: Values) -> None:
    """Read a relation or an event, in whichever of the forms above it is."""
    key, infons = str(relation.get("id", "")), _infons(relation)
    type_ = infons.pop("type", None) or infons.pop("relation", None) or "relation"
    nodes = [_object(node, "a node") for node in _list(relation, "nodes")]
    roles = [(str(node.get("role", "")), str(node.get("refid", ""))) for node in nodes]
    score = _score(infons, "score")
    if "head_text" in infons and "tail_text" in infons:
        head, tail = ([key for role, key in roles if role == end] for end in ("head", "tail"))
        texts = (infons["head_text"], infons["tail_text"])
        gold.relation(key, type_, head, tail, texts, score)
    elif "role1" in infons and "role2" in infons:
        (head_type, one), (tail_type, other) = (
            _role(relation["infons"][name]) for name in ("role1", "role2")
        )
        gold.relation_of_concepts(key, type_, one, other, (head_type, tail_type), score)
    elif roles or "arguments" in infons:
        _of_nodes(gold, key, type_, roles, infons)
    elif ends := _concepts_related(infons):
        gold.relation_of_concepts(key, type_, *ends, score=score)
    else:
        gold.leave_out("relations without nodes")


def _of_nodes(
    gold: Gold, key: str, type_: str, roles: Sequence[tuple[str, str]], infons: dict[str, str]
) -> None:
    """Read what has nodes: two of them without a trigger are a relation, others are an event.

    Args:
        gold: collects the annotations.
        key: the id of the relation.
        type_: its type.
        roles: (role, id of an annotation) of each node.
        infons: its infons.
    """
    trigger = next((key for role, key in roles if role == "trigger"), None)
    if len(roles) == 2 and trigger is None and "arguments" not in infons:
        head, tail = in_order(*roles)
        gold.relation(key, type_, [head], [tail])
        return
    arguments = [(role, key, "") for role, key in roles if role != "trigger"]
    gold.event(key, type_, trigger, _own_arguments(infons) or arguments)


def _role(value: object) -> tuple[str | None, str]:
    """Read the type and the identifier of a concept from a `role` infon of PubTator 3."""
    if isinstance(value, dict):
        type_ = value.get("type")
        return type_ if isinstance(type_, str) else None, str(value.get("identifier") or "")
    match = _ROLE.fullmatch(str(value))
    assert match is not None  # it matches any text
    return match[1], match[2].strip()


def _own_arguments(infons: dict[str, str]) -> list[tuple[str, str | None, str]]:
    """The arguments in the infon of our own writer: some of them have a text and no annotation."""
    try:
        listed = json_value.loads(infons.get("arguments", "[]"))
        return [(role, key, text) for role, key, text in listed]
    except (ValueError, TypeError):
        return []


def _concepts_related(infons: dict[str, str]) -> tuple[str, str] | None:
    if "entity1" in infons and "entity2" in infons:
        return infons["entity1"], infons["entity2"]
    rest = [value for name, value in infons.items() if name not in ("novel", "score")]
    return (rest[0], rest[1]) if len(rest) == 2 else None


def _labels_and_texts(document: Document, infons: dict[str, str | None]) -> None:
    """Read the labels and texts that our own writer put into infons; other values are metadata."""
    for name, value in infons.items():
        if value is None:
            continue
        try:
            read = annotations_from_row({name: json_value.loads(value)})
        except (AttributeError, KeyError, TypeError, ValueError):
            document.metadata[name] = value
            continue
        document.gold.labels += read.labels
        document.gold.texts += read.texts


# ------------------------------------------------------------------------------- checking values


def _object(value: object, what: str) -> Values:
    if not isinstance(value, dict):
        raise FormatError("invalid_record", f"{what} must be an object")
    return value


def _list(record: Values, key: str) -> list[Any]:
    value = record.get(key)
    if value is not None and not isinstance(value, list):
        raise FormatError("invalid_record", f"{key} must be a list")
    return value or []


def _string(record: Values, key: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise FormatError("invalid_record", f"{key} must be a string")
    return value


def _whole(record: Values, key: str) -> int:
    number = whole(record.get(key))
    if number is None:
        message = f"{key} must be a whole number, not {said(record.get(key))}"
        raise FormatError("invalid_record", message)
    return number


def _infons(record: Values) -> dict[str, str]:
    infons = record.get("infons") or {}
    if not isinstance(infons, dict):
        raise FormatError("invalid_record", "infons must be an object")
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in infons.items()}


def _score(infons: dict[str, str], key: str) -> float | None:
    try:
        return float(infons[key])
    except (KeyError, ValueError):
        return None


# --------------------------------------------------------------------------------------- writing

SOURCE: Final = "taiyi_ray"
KEY: Final = "taiyi_ray/docs/formats.md"
"""The key of a collection: the file that describes its infons. Some readers demand a key."""


def values_of(document: Document, annotations: Annotations) -> Values:
    """Make the BioC document of a Document and its annotations, without loss."""
    infons = {
        **document.metadata,
        _TITLE: document.title,
        _LANGUAGE: document.language,
        _VERSION: document.version,
        **{name: _json_or_none(getattr(annotations, name)) for name in _OF_DOCUMENT},
    }
    at_home: dict[int | None, list[Mention]] = {}
    for mention in annotations.mentions:
        at_home.setdefault(_home(mention, document), []).append(mention)
    return {
        "id": document.document_id or "",
        "infons": _texts(infons),
        "passages": [
            _passage(passage, at_home.get(n, ())) for n, passage in enumerate(document.passages)
        ],
        "annotations": [_mention(mention) for mention in at_home.get(None, ())],
        "relations": [
            *(_written_relation(relation) for relation in annotations.relations),
            *(_written_event(event) for event in annotations.events),
        ],
    }


def _home(mention: Mention, document: Document) -> int | None:
    """The number of the passage that a mention begins in; None for one without offsets."""
    if mention.passage is None or mention.start is None or mention.end is None:
        return None
    passage = document.passages[mention.passage]
    return mention.passage if passage.offset <= mention.start < passage.end else None


def _passage(passage: Passage, mentions: Sequence[Mention]) -> Values:
    return {
        "offset": passage.offset,
        "infons": {"type": passage.type, "language": passage.language},
        "text": passage.text,
        "sentences": [],
        "annotations": [_mention(mention) for mention in mentions],
        "relations": [],
    }


def _mention(mention: Mention) -> Values:
    concept = mention.concept
    infons = {
        "type": mention.type,
        "grounded": None if mention.grounded == "exact" else mention.grounded,
        "score": mention.score,
        "concept_db": concept and concept.db,
        "concept_id": concept and concept.id,
        "concept_name": concept and concept.name,
        "concept_score": concept and concept.score,
    }
    ranges = [(span.start, span.end) for span in mention.spans]
    if not ranges and mention.start is not None and mention.end is not None:
        ranges = [(mention.start, mention.end)]
    return {
        "id": str(mention.id),
        "infons": _texts(infons),
        "text": mention.text,
        "locations": [{"offset": start, "length": end - start} for start, end in ranges],
    }


def _written_relation(relation: Relation) -> Values:
    infons = {
        "type": relation.type,
        "head_text": relation.head_text,
        "tail_text": relation.tail_text,
        "score": relation.score,
    }
    ends = (("head", relation.head), ("tail", relation.tail))
    return {
        "id": f"R{relation.id}",
        "infons": _texts(infons),
        "nodes": [{"refid": str(n), "role": role} for role, ids in ends for n in ids],
    }


def _written_event(event: Event) -> Values:
    arguments = [
        (a.role, None if a.mention is None else str(a.mention), a.text) for a in event.arguments
    ]
    nodes = [{"refid": key, "role": role} for role, key, _ in arguments if key is not None]
    if event.trigger is not None:
        nodes.insert(0, {"refid": str(event.trigger), "role": "trigger"})
    infons = {"type": event.type, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"E{event.id}", "infons": infons, "nodes": nodes}


def _json_or_none(records: Sequence[object]) -> str | None:
    return json.dumps(as_values(list(records)), ensure_ascii=False) if records else None


def _texts(infons: dict[str, Any]) -> dict[str, str]:
    """The infons that have a value, as texts."""
    return {name: str(value) for name, value in infons.items() if value is not None}

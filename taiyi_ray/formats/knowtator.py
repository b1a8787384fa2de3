"""Knowtator's XML: annotations beside a text, of versions 1 and 2, with chains of coreference.

    version 1    <annotations textSource="a.txt"><annotation><mention id="m1"/>
                   <span start="0" end="5"/><spannedText>BRCA2</spannedText></annotation>
                 <classMention id="m1"><mentionClass id="PR:1">a name</mentionClass></classMention>
    version 2    <knowtator-project><document id="a"><annotation id="a1">
                   <class id="http://purl.obolibrary.org/obo/MONDO_0007254" label="..."/>
                   <span start="0" end="5">BRCA2</span></annotation>
                 <graph-space><vertex id="v1" annotation="a1"/>
                   <triple subject="v1" property="Coreferring strings" object="v2"/></graph-space>

CRAFT has its annotations in both (https://github.com/UCDenver-ccp/CRAFT). Offsets are half-open, in
characters of the text. In its coreference an annotation of the class `IDENTITY chain` stands for a
chain, whose members the graph joins to it: of them come relations of the type `coreference`, each
between a mention and the next one in the text. The chain itself is no mention. Every other triple
is a relation named by its property.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import BinaryIO, Final

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import plain_text, xml_elements
from taiyi_ray.formats.format import FormatOptions, NamedFormat, RawRecord
from taiyi_ray.formats.format import whole as whole_file
from taiyi_ray.formats.gold import Gold, placed, whole
from taiyi_ray.formats.unmarked import unmarked
from taiyi_ray.formats.xml_elements import Element, local_name
from taiyi_ray.records import Concept, Document

_ENDINGS: Final = (".txt.knowtator.xml", ".knowtator.xml", ".xml")
_CHAIN: Final = "IDENTITY chain"
_MEMBER: Final = "Coreferring strings"
_COREFERENCE: Final = "coreference"
_OBO: Final = re.compile(r".*[/#]([A-Za-z][A-Za-z0-9]*)_(\w+)")
_CURIE: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*):(\S+)")


class KnowtatorOptions(FormatOptions):
    """Where the texts are, and what the mentions are called."""

    texts: str = Field(
        "",
        description="the folder of the texts, from that of the annotations: `../../articles/txt`",
    )
    type: str | None = Field(
        None,
        min_length=1,
        description="the type of all mentions, whose classes are their concepts; without it, the "
        "class of each is its type",
    )


def _beside(options: KnowtatorOptions) -> Mapping[str, tuple[str, ...]]:
    folder = options.texts.rstrip("/")
    text = f"{folder}/*.txt" if folder else ".txt"
    return dict.fromkeys(_ENDINGS, (text,))


def scan(stream: BinaryIO, options: KnowtatorOptions) -> Iterator[RawRecord]:
    """Yield the annotations of one document as one record; a file beside it holds the text."""
    yield whole_file(unmarked(stream), "document")


def parse(raw: RawRecord, options: KnowtatorOptions) -> Document:
    """Turn the text beside the annotations into a Document that has these as gold."""
    if ".txt" not in raw.beside:
        raise FormatError("no_text", "there is no .txt file of this name at the place of the texts")
    root = xml_elements.parsed(raw.data)
    document = plain_text.parse(RawRecord("text", raw.beside[".txt"]))
    gold = Gold(document, [passage.offset for passage in document.passages])
    if root.tag == "annotations":
        document.document_id = root.get("textSource", "").removesuffix(".txt") or None
        _version_1(gold, root, options)
    elif root.tag == "knowtator-project":
        found = root.find("document")
        if found is None:
            raise FormatError("malformed", "expected one <document>")
        document.document_id = found.get("id")
        _version_2(gold, found, options)
    else:
        raise FormatError("not_knowtator", f"the root is <{local_name(root)}>")
    gold.settle()
    return document


def _version_1(gold: Gold, root: Element, options: KnowtatorOptions) -> None:
    classes = {
        mention.get("id", ""): name
        for mention in root.findall("classMention")
        if (name := mention.find("mentionClass")) is not None
    }
    for number, annotation in enumerate(root.findall("annotation")):
        mention = annotation.find("mention")
        key = mention.get("id", "") if mention is not None else str(number)
        class_ = classes.get(key)
        id_, label = ("", "") if class_ is None else (class_.get("id", ""), class_.text or "")
        spans = [(span.get("start"), span.get("end")) for span in annotation.findall("span")]
        text = annotation.findtext("spannedText")
        parts = None if text is None else text.replace(" ... ", " ")
        _mention(gold, key, spans, parts, (id_, label), options)


def _version_2(gold: Gold, document: Element, options: KnowtatorOptions) -> None:
    chains: dict[str, list[str]] = {}
    starts: dict[str, int] = {}
    for annotation in document.findall("annotation"):
        key = annotation.get("id", "")
        class_ = annotation.find("class")
        id_, label = ("", "") if class_ is None else (class_.get("id", ""), class_.get("label", ""))
        if id_ == _CHAIN:
            chains[key] = []
            continue
        spans = sorted(annotation.findall("span"), key=lambda span: whole(span.get("start")) or 0)
        stated = [(span.get("start"), span.get("end")) for span in spans]
        starts[key] = min((whole(start) or 0 for start, _ in stated), default=0)
        text = " ".join(span.text or "" for span in spans)
        _mention(gold, key, stated, text, (id_, label.strip("'")), options)
    for graph in document.findall("graph-space"):
        nodes = {one.get("id"): one.get("annotation", "") for one in graph.findall("vertex")}
        for triple in graph.findall("triple"):
            subject, object_ = (
                nodes.get(triple.get(end), f"{triple.get(end)}") for end in ("subject", "object")
            )
            name = triple.get("property", "")
            if name == _MEMBER and subject in chains:
                chains[subject].append(object_)
            else:
                gold.relation(triple.get("id", ""), name, [subject], [object_])
    for chain, members in chains.items():
        ordered = sorted(dict.fromkeys(members), key=lambda key: starts.get(key, 0))
        for number, (one, other) in enumerate(pairwise(ordered)):
            gold.relation(f"{chain}.{number}", _COREFERENCE, [one], [other])
        if len(ordered) < 2:
            gold.leave_out("chains of fewer than two mentions")


def _mention(
    gold: Gold,
    key: str,
    stated: list[tuple[str | None, str | None]],
    text: str | None,
    class_: tuple[str, str],
    options: KnowtatorOptions,
) -> None:
    """Add a mention; `class_` is the id and the label of its class."""
    id_, label = class_
    ranges, misplaced = placed(sorted(stated, key=lambda ends: whole(ends[0]) or 0))
    concept = _concept(id_, label)
    type_ = options.type or (label or id_ or None)
    gold.mention(key, type_, text, ranges, misplaced=misplaced, concept=concept)


def _concept(id_: str, label: str) -> Concept | None:
    """Return the entry of an ontology that a class is; None of a class of the annotators' own."""
    match = _OBO.fullmatch(id_) or _CURIE.fullmatch(id_)
    return Concept(match[1], match[2], label or None) if match else None


FORMAT = NamedFormat(
    "knowtator",
    KnowtatorOptions,
    scan,
    parse,
    "a file and its text: mentions, concepts, relations, chains of coreference",
    beside=_beside,
)

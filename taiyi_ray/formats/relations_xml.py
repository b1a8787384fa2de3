"""The unified XML of protein-protein and drug-drug interactions: sentences, entities, pairs.

    <document id="d1"><sentence id="d1.s0" text="MTX and NSAIDs interact.">
      <entity id="d1.s0.e0" charOffset="0-2" type="drug" text="MTX"/>
      <entity id="d1.s0.e1" charOffset="8-13" type="group" text="NSAIDs"/>
      <pair id="d1.s0.p0" e1="d1.s0.e0" e2="d1.s0.e1" ddi="true" type="effect"/>
    </sentence></document>

Pyysalo et al. 2008 (doi:10.1186/1471-2105-9-S3-S6) made this form for five corpora of proteins, and
the DDI corpus (Herrero-Zazo et al. 2013, doi:10.1016/j.jbi.2013.07.011) took it over. An offset
counts from the beginning of its sentence; its end is the last character of the entity in the DDI
corpus, and the one behind it in some files of the others. The text decides, as ever (gold.py).
`charOffset="10-19;37-46"` is of an entity in two parts. Each sentence is a passage. A pair that is
said not to interact is no relation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from pydantic import Field

from taiyi_ray.formats import language, xml_elements, xml_scanner
from taiyi_ray.formats.format import FormatOptions, NamedFormat, RawRecord
from taiyi_ray.formats.gold import Gold, placed, whole
from taiyi_ray.formats.xml_elements import Element, local_name
from taiyi_ray.records import Document, passages

_RECORDS: Final = xml_scanner.XmlRecords(
    roots=(b"corpus",), records=(b"document",), expected="corpus", fault="not_relations_xml"
)
_TRUE: Final = frozenset({"true", "1"})


class RelationsXmlOptions(FormatOptions):
    """What a pair without a type is called."""

    type: str = Field(
        "interaction", min_length=1, description="the type of a relation whose pair states none"
    )


def scan(stream: BinaryIO, options: RelationsXmlOptions) -> Iterator[RawRecord]:
    """Yield each document of a file, which may be of one document or of a whole corpus."""
    return xml_scanner.scan(stream, _RECORDS)


def parse(raw: RawRecord, options: RelationsXmlOptions) -> Document:
    """Turn a document into its sentences, with their entities and pairs as gold."""
    element = xml_elements.parsed(raw.data)
    if local_name(element) == "corpus":  # a record is wrapped if its root has namespaces
        element = element[0]
    sentences = [one for one in element.iter("sentence") if one.get("text")]
    texts = [one.get("text", "") for one in sentences]
    document = Document(
        element.get("id") or element.get("origId"),
        passages(("sentence", language.of_text(text), text) for text in texts),
    )
    bases = [passage.offset for passage in document.passages]
    gold = Gold(document, bases)
    for base, sentence in zip(bases, sentences, strict=True):
        _sentence(gold, base, sentence, options)
    gold.settle()
    return document


def _sentence(gold: Gold, base: int, sentence: Element, options: RelationsXmlOptions) -> None:
    for entity in sentence.iter("entity"):
        stated = []
        for part in entity.get("charOffset", "").replace(",", ";").split(";"):
            start, _, end = part.partition("-")
            first, last = whole(start), whole(end)
            stated.append(
                (start if first is None else base + first, end if last is None else base + last + 1)
            )
        ranges, misplaced = placed(stated)
        text, type_ = entity.get("text"), entity.get("type") or None
        gold.mention(entity.get("id", ""), type_, text, ranges, misplaced=misplaced)
    for pair in sentence.iter("pair", "interaction"):
        if _says_yes(pair):
            type_ = pair.get("type") or options.type
            gold.relation(pair.get("id", ""), type_, [pair.get("e1", "")], [pair.get("e2", "")])


def _says_yes(pair: Element) -> bool:
    """Tell whether a pair interacts: `ddi` of drugs, `interaction` of proteins."""
    stated = pair.get("ddi", pair.get("interaction"))
    return stated is None or stated.strip().lower() in _TRUE


FORMAT = NamedFormat(
    "relations-xml",
    RelationsXmlOptions,
    scan,
    parse,
    "a document of DDI's or the PPI corpora's XML: sentences, mentions, relations",
)

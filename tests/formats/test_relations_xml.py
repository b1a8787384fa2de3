"""The XML of DDI and of the corpora of protein interactions."""

from __future__ import annotations

import pytest

from taiyi_ray.formats import named
from taiyi_ray.records import Document, Span
from tests.formats.annotated import check_contracts, read


def file(data: str, **options: str) -> list[Document]:
    found = read(named("relations-xml", options), data, "a.xml")
    for document in found:
        check_contracts(document)
    return found


DDI = """<?xml version="1.0" encoding="UTF-8"?>
<document id="DDI.d1">
  <sentence id="s0" text="Take MTX.">
    <entity id="e0" charOffset="5-7" type="drug" text="MTX"/></sentence>
  <sentence id="s1" text=""/>
  <sentence id="s2" text="MTX and (R)-warfarin or S-warfarin interact.">
    <entity id="e1" charOffset="0-2" type="drug" text="MTX"/>
    <entity id="e2" charOffset="8-19" type="drug" text="(R)-warfarin"/>
    <entity id="e3" charOffset="8-11;24-33" type="drug_n" text="(R)- S-warfarin"/>
    <pair id="p0" e1="e1" e2="e2" ddi="true" type="effect"/>
    <pair id="p1" e1="e1" e2="e3" ddi="true"/>
    <pair id="p2" e1="e2" e2="e3" ddi="false"/>
  </sentence>
</document>"""


def test_offsets_count_in_their_sentence_to_the_last_character() -> None:
    (document,) = file(DDI)
    assert document.document_id == "DDI.d1"
    assert [p.type for p in document.passages] == ["sentence", "sentence"]
    found = [(m.type, m.start, m.end, m.text) for m in document.gold.mentions]
    assert found == [
        ("drug", 5, 8, "MTX"),
        ("drug", 10, 13, "MTX"),
        ("drug", 18, 30, "(R)-warfarin"),
        ("drug_n", 18, 44, "(R)- S-warfarin"),
    ]
    assert document.gold.mentions[3].spans == [Span(18, 22), Span(34, 44)]
    assert document.errors == []


def test_only_pairs_that_interact_are_relations() -> None:
    (document,) = file(DDI, type="unknown")
    found = [(r.type, r.head, r.tail) for r in document.gold.relations]
    assert found == [("effect", [1], [2]), ("unknown", [1], [3])]


def test_a_corpus_of_proteins_whose_ends_are_behind_the_last_character() -> None:
    data = """<corpus source="AIMed"><document id="d0"><sentence id="s" text="A binds BC.">
    <entity id="a" charOffset="0-1" type="protein" text="A"/>
    <entity id="b" charOffset="8-10" type="protein" text="BC"/>
    <pair id="p" e1="a" e2="b" interaction="True"/></sentence></document>
    <document id="d1"/></corpus>"""
    first, second = file(data)
    assert [(m.start, m.end, m.grounded) for m in first.gold.mentions] == [
        (0, 1, "exact"),
        (8, 10, "exact"),
    ]
    assert [r.type for r in first.gold.relations] == ["interaction"]
    assert (second.document_id, second.text) == ("d1", "")


def test_what_does_not_fit_is_kept_and_told() -> None:
    data = """<document id="d"><sentence text="abc"><entity id="e" charOffset="x" text="zz"/>
    <entity id="f" text="ab"/><pair id="p" e1="e" e2="gone" ddi="true"/></sentence></document>"""
    (document,) = file(data)
    assert [(m.text, m.start) for m in document.gold.mentions] == [("zz", None), ("ab", None)]
    assert [e.kind for e in document.errors] == ["gold_offsets", "gold_reference"]
    assert document.gold.relations == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("", "empty"),
        ("<x/>", "not_relations_xml"),
        ("<document><sentence text='a'></document>", "malformed"),
        ("<document><sentence text='a'/>", "truncated"),
    ],
)
def test_a_broken_file_says_why(data: str, kind: str) -> None:
    (document,) = read(named("relations-xml"), data, "a.xml")
    assert document.errors[0].kind == kind

"""Concepts: identifiers as corpora write them, and which mentions a relation names by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.formats.concepts import ByConcept, concept_of, concepts_of, identifier_of
from taiyi_ray.records import Concept, Mention

# As PubTator 3 gives them for PMID 34895069 and PMID 38258094.
L55M = "tmVar:p|SUB|L|55|M;HGVS:p.L55M;VariantGroup:1;CorrespondingGene:5444;RS#:854560"
Q192R = "tmVar:p|SUB|Q|192|R;HGVS:p.Q192R;VariantGroup:0;CorrespondingGene:5444;RS#:662"
ALLELE = "tmVar:p|Allele|H|1975;VariantGroup:1;CorrespondingGene:1956;CorrespondingSpecies:9606"


def named(identifier: str, *identifiers: str) -> list[int]:
    """The numbers of the mentions of these identifiers that the first one names."""
    mentions = [
        Mention(n, "x", "x", 0, 1, concept=concept_of(one)) for n, one in enumerate(identifiers)
    ]
    return [mention.id for mention in ByConcept(mentions).named(identifier)]


@pytest.mark.parametrize(
    ("identifier", "concept"),
    [
        ("MESH:D003000", Concept("MESH", "D003000")),
        ("NCBI Gene:7124", Concept("NCBI Gene", "7124")),
        ("D003000", Concept("", "D003000")),
        ("D1|D2", Concept("", "D1|D2")),
        ("c|SUB|T|920|G;Gene:23417", Concept("", "c|SUB|T|920|G;Gene:23417")),
        (" 9606 ", Concept("", "9606")),
        ("-1", None),
        ("-", None),
        ("", None),
        (None, None),
    ],
)
def test_identifiers(identifier, concept):
    assert concept_of(identifier) == concept
    if concept is not None:
        assert concept_of(identifier_of(concept)) == concept


@given(st.text(max_size=12))
def test_any_identifier_is_read_or_none(identifier):
    concept = concept_of(identifier)
    if concept is not None:
        assert identifier_of(concept) == identifier.strip()


def test_mentions_of_joined_identifiers_are_of_each():
    assert named("1", "1,2", "2", "-") == [0]
    assert named("2", "1,2", "2", "-") == [0, 1]
    assert named("1,2", "1,2", "2") == [0]
    assert named("D2", "D1|D2", "D1+D2", "MESH:D2") == [0, 1, 2]
    assert named("MESH:D2", "MESH:D1;MESH:D2", "MESH:D2") == [0, 1]


@pytest.mark.parametrize(
    ("relation", "found"),
    [
        ("RS#:854560;HGVS:p.L55M;CorrespondingGene:5444", [0]),
        ("HGVS:p.L55M;CorrespondingGene:5444", [0]),
        ("RS#:854560", [0]),
        ("CorrespondingGene:1956;VariantGroup:1;tmVar:p|Allele|H|1975", [2]),
        ("RS#:662;CorrespondingGene:5444;CA#:123411", [1]),  # the mention says less
        ("RS#:662;HGVS:c.575A>G;CorrespondingGene:5444", [1]),  # another name of the same variant
        ("RS#:1;HGVS:p.L55M;CorrespondingGene:999", []),  # of another gene
        ("RS#:1;CorrespondingGene:5444", []),
        ("CorrespondingGene:5444", []),
        ("5444", [3]),
        ("9606", []),
        ("55", []),  # a position in a variant's name is no gene
        ("SUB", []),
    ],
)  # fmt: skip
def test_a_variant_is_found_by_any_names_in_any_order(relation, found):
    assert named(relation, L55M, Q192R, ALLELE, "5444", "-") == found


@given(st.permutations(L55M.split(";")), st.integers(1, 5))
def test_a_variant_is_found_by_any_of_its_parts_that_name_it(parts, most):
    some = parts[:most]
    names = [part for part in some if not part.startswith(("VariantGroup", "Corresponding"))]
    assert named(";".join(some), Q192R, L55M) == ([1] if names else [])


def test_a_gene_that_a_variant_belongs_to_does_not_hide_the_variant():
    mentions = ("Gene:7124", "RS#:1;HGVS:x;Gene:7124", "RS#:1;HGVS:y")
    assert named("Gene:7124;HGVS:x;RS#:1", *mentions) == [1]
    assert named("Gene:7124", *mentions) == [0]


def test_concepts_that_are_joined_in_another_order_are_the_same():
    assert named("5595;5594", "5594;5595", "5594") == [0]
    assert named("1;9", "1", "9") == []


def test_no_relation_is_compared_with_more_than_a_few_identifiers():
    mentions = [
        Mention(n, "x", "x", 0, 1, concept=Concept("", f"RS#:1;CA#:{n}")) for n in range(1000)
    ]
    by_concept = ByConcept(mentions)
    assert len(by_concept.named("RS#:1;HGVS:x")) == 64
    assert [m.id for m in by_concept.named("RS#:1;CA#:999")] == [999]
    assert [m.id for m in by_concept.named("CA#:999;RS#:1")] == [999]


@pytest.mark.parametrize(
    ("identifier", "concepts"),
    [
        ("D001241", {"D001241"}),
        ("D001943|D010051", {"D001943", "D010051"}),
        ("14062,14063", {"14062", "14063"}),
        ("MESH:D001943|OMIM:1234", {"D001943", "1234"}),
        ("D001943|-1", {"D001943"}),
        ("5594;5595", {"5594", "5595"}),
        ("p|SUB|R|140|Q", {"p|SUB|R|140|Q"}),
        ("c|DEL|1314_1328|", {"c|DEL|1314_1328|"}),
        (
            "tmVar:p|SUB|L|55|M;HGVS:p.L55M;VariantGroup:1;CorrespondingGene:5444;RS#:854560",
            {"tmVar:p|SUB|L|55|M"},
        ),
    ],
)
def test_an_identifier_names_each_concept_once_and_a_variant_by_its_first_name(
    identifier, concepts
):
    assert concepts_of(identifier) == concepts

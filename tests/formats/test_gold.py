"""Gold annotations: names of concepts, ways to count, references, and what is told of faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.formats.gold import Gold, concept_of, identifier_of, of_concepts
from taiyi_ray.records import Argument, Concept, Document, Event, Mention, Relation, passages
from tests.formats.annotated import check_contracts

TEXT = "Ärzte treat 🧬 with α-TNF\nand TNF today"


def document(text: str = TEXT) -> Document:
    first, _, second = text.partition("\n")
    return Document("d", passages([("title", "en", first), ("abstract", "en", second)]))


def settled(
    *mentions: tuple[str, list[tuple[int, int]]], bases: tuple[int, ...] = (0, 25)
) -> Document:
    found = document()
    gold = Gold(found, bases)
    for number, (text, ranges) in enumerate(mentions):
        gold.mention(str(number), "x", text, ranges)
    gold.settle()
    check_contracts(found)
    return found


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
    one, two = (
        Mention(n, "x", "x", 0, 1, concept=Concept("", id_)) for n, id_ in enumerate(("1,2", "2"))
    )
    found = of_concepts([one, two])
    assert (found["1"], found["2"], found["1,2"]) == ([one], [one, two], [one])


@pytest.mark.parametrize(
    ("text", "ranges", "place", "kind"),
    [
        ("treat", [(6, 11)], (6, 11), None),
        ("treat", [(6, 10)], (6, 11), "gold_moved"),  # inclusive
        ("treat", [(7, 12)], (6, 11), "gold_moved"),  # bytes, or one off
        ("with", [(18, 22)], (14, 18), "gold_moved"),  # bytes
        ("TNF", [(21, 24)], (21, 24), None),
        ("TNF", [(29, 32)], (29, 32), None),
        ("tnf", [(29, 32)], (29, 32), None),
        ("and TNF", [(25, 28), (29, 32)], (25, 32), None),
        ("and TNF", [(25, 27), (29, 31)], (25, 32), "gold_moved"),
        ("α TNF", [(19, 24)], (19, 24), None),  # a hyphen is as good as a blank
        ("never", [(0, 5)], None, "gold_offsets"),
        ("today", [(3, 8)], None, "gold_offsets"),  # too far
        ("", [(0, 5)], None, "gold_offsets"),
    ],
)
def test_places(text, ranges, place, kind):
    found = settled((text, ranges))
    (mention,) = found.gold.mentions
    assert (mention.start, mention.end) == (place or (None, None))
    assert [error.kind for error in found.errors] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("standing", "text", "grounded"),
    [
        ("Sjo\u0308gren", "Sjögren", "folded"),
        ("Sjögren", "Sjo\u0308gren", "folded"),
        ("can\u00adcer", "cancer", "folded"),
        ("T\u200bNF", "TNF", "folded"),
        ("Crohn’s", "Crohn's", "folded"),
        ("breast\ncancer", "breast cancer", "exact"),
        ("breast \r\ncancer", "breast  cancer", "exact"),
        ("乳腺\n癌", "乳腺 癌", "exact"),
        ("two\n\nlines", "two lines", "exact"),
        ("two\n \nlines", "two lines", "folded"),
    ],
)
def test_differences_that_nobody_sees_move_no_mention(standing, text, grounded):
    found = Document("d", passages([("text", "en", f"In {standing} 🧬.")]))
    gold = Gold(found, [0])
    gold.mention("T1", "x", text, [(3, 3 + len(standing))])
    gold.settle()
    check_contracts(found)
    (mention,) = found.gold.mentions
    assert (mention.text, mention.start, mention.grounded) == (standing, 3, grounded)
    assert found.errors == []


@pytest.mark.parametrize(
    ("bases", "start", "place"),
    [
        ((0, 25), 29, 29),
        ((100, 25), 29, 29),
        ((7, 7), 11, 29),
        ((0, 100), 104, 29),
        ((50, 60), 4, None),
    ],
)
def test_of_the_passages_that_begin_up_to_an_offset_the_last_one_counts(bases, start, place):
    found = settled(("TNF", [(start, start + 3)]), bases=bases)
    assert found.gold.mentions[0].start == place


def test_numbers_of_ids_are_kept_where_they_tell_all_apart():
    found = document()
    gold = Gold(found, [0, 25])
    for key in ("T7", "T3"):
        gold.mention(key, "x", "treat", [(6, 11)])
    gold.settle()
    assert [m.id for m in found.gold.mentions] == [3, 7]
    found = document()
    gold = Gold(found, [0, 25])
    for key in ("0_MeSH", "T1", "A1"):
        gold.mention(key, "x", "treat", [(6, 11)])
    gold.settle()
    assert [m.id for m in found.gold.mentions] == [0, 1, 2]


def test_references_come_before_what_they_name_and_may_name_events():
    found = document()
    gold = Gold(found, [0, 25])
    gold.event("E1", "treats", "T1", [("agent", "T2", ""), ("cause", "E2", ""), ("no", "T9", "")])
    gold.event("E2", "is", "T2", [("theme", None, "said")])
    gold.relation("R1", "r", ["T1", "E2"], ["T2"])
    gold.relation("R2", "r", ["T1"], ["T9"])
    gold.relation_of_concepts("R3", "c", "7124", "9999")
    gold.mention("T1", "x", "treat", [(6, 11)])
    gold.mention("T2", "y", "TNF", [(21, 24)], concept=Concept("", "7124"))
    gold.settle()
    check_contracts(found)
    assert found.gold.events == [
        Event(1, "treats", 1, [Argument("agent", 2, "TNF"), Argument("cause", 2, "TNF")]),
        Event(2, "is", 2, [Argument("theme", None, "said")]),
    ]
    assert found.gold.relations == [
        Relation(1, "r", "treat", "TNF", [1, 2], [2]),
        Relation(3, "c", "TNF", "9999", [2], []),
    ]
    assert [(e.kind, e.message) for e in found.errors] == [
        ("gold_reference", "3 references name what is not there, as in T9")
    ]


RANGE = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(st.lists(st.tuples(st.text(max_size=6) | st.sampled_from(["TNF", "and"]),
                          st.lists(RANGE, min_size=1, max_size=3)), max_size=4),
       st.tuples(st.integers(0, 40), st.integers(0, 40)))  # fmt: skip
def test_whatever_is_said_keeps_the_contracts(mentions, bases):
    found = settled(*mentions, bases=bases)
    assert len(found.gold.mentions) == len(mentions)

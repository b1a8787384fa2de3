"""Gold annotations: names of concepts, ways to count, references, and what is told of faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.formats import gold as gold_module
from taiyi_ray.formats.gold import Gold, placed, said, whole
from taiyi_ray.records import Argument, Concept, Document, Event, Relation, passages
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
        ("gold_reference", "3 references name annotations that do not exist, as in T9")
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        ("7", 7),
        (" 7 ", 7),
        (7.0, 7),
        ("7.0", 7),
        *[(bad, None) for bad in (-1, "-1", "", None, 1.5, "1.5", True, [7], "x", "²", "1e3")],
        *[(bad, None) for bad in (1 << 31, 10**4000, "9" * 5000, float("inf"), 1e300)],
        (float("nan"), None),
    ],
)  # fmt: skip
def test_whole_numbers(value, number):
    assert whole(value) == number


@pytest.mark.parametrize("value", [None, "", "x" * 5000, 10**4000, -(10**4000), [[]], 1e300, True])
def test_what_is_said_of_a_place_is_short(value):
    assert 0 < len(said(value)) <= 40


def test_what_is_no_range_has_no_ranges():
    assert placed([(1, "2"), (3, 4)]) == ([(1, 2), (3, 4)], "")
    assert placed([(1, 2), (3, None)]) == ([], "3 to nothing")
    assert placed([]) == ([], "")


@pytest.mark.parametrize(
    ("type_", "found"), [("gene", [1]), ("Species", [0]), ("Variant", [0, 1]), (None, [0, 1])]
)
def test_the_type_tells_a_gene_from_a_species_of_the_same_number(type_, found):
    one = document()
    gold = Gold(one, [0, 25])
    for number, kind in enumerate(("Species", "Gene")):
        gold.mention(str(number), kind, "treat", [(6, 11)], concept=Concept("", "10090"))
    gold.relation_of_concepts("R1", "r", "10090", "10090", (type_, None))
    gold.settle()
    (relation,) = one.gold.relations
    assert (relation.head, relation.tail) == (found, [0, 1])


def test_relations_of_concepts_cannot_fill_the_memory(monkeypatch):
    """n mentions of a concept and n relations of it name n times n mentions."""
    monkeypatch.setattr(gold_module, "_MOST_ENDS", 100)
    found = document()
    gold = Gold(found, [0, 25])
    for number in range(30):
        gold.mention(f"T{number}", "x", "treat", [(6, 11)], concept=Concept("", "1"))
        gold.relation_of_concepts(f"R{number}", "r", "1", "1")
    gold.settle()
    check_contracts(found)
    assert len(found.gold.relations) == 30
    assert sum(len(r.head) + len(r.tail) for r in found.gold.relations) == 120
    assert [(e.kind, e.message) for e in found.errors] == [
        ("gold_left_out", "56 ends of relations that have too many mentions")
    ]


RANGE = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(st.lists(st.tuples(st.text(max_size=6) | st.sampled_from(["TNF", "and"]),
                          st.lists(RANGE, min_size=1, max_size=3)), max_size=4),
       st.tuples(st.integers(0, 40), st.integers(0, 40)))  # fmt: skip
def test_whatever_is_said_keeps_the_contracts(mentions, bases):
    found = settled(*mentions, bases=bases)
    assert len(found.gold.mentions) == len(mentions)

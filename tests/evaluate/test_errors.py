"""Kinds of errors: each annotation, predicted or missing, is judged once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from taiyi_ray.evaluate.errors import verdicts
from taiyi_ray.records import Annotations, Argument, Concept, Event, Label, Mention, Relation


def mention(type_: str | None, start: int | None, end: int | None) -> Mention:
    return Mention(0, type_, "x", start, end)


def kinds(predicted: Annotations, gold: Annotations) -> Counter[str]:
    return Counter(verdict.kind for verdict in verdicts(predicted, gold))


@pytest.mark.parametrize(
    ("predicted", "kind", "types"),
    [
        (mention("disease", 4, 10), "right", ("disease", "disease")),
        (mention("chemical", 4, 10), "wrong type", ("disease", "chemical")),
        (mention("disease", 6, 12), "boundary", ("disease", "disease")),
        (mention("disease", 10, 12), "spurious", (None, "disease")),
        (mention("chemical", 6, 12), "spurious", (None, "chemical")),
        (mention("disease", None, None), "spurious", (None, "disease")),
    ],
)
def test_a_mention_is_judged_by_its_nearest_gold_mention(predicted, kind, types):
    gold = Annotations([mention("disease", 4, 10)])
    first, *rest = verdicts(Annotations([predicted]), gold)
    assert (first.kind, (first.gold, first.predicted)) == (kind, types)
    assert [verdict.kind for verdict in rest] == (["missed"] if kind == "spurious" else [])


def test_relations_between_the_right_names_may_have_the_wrong_link_or_type():
    def linked(*triples):
        return Annotations(relations=[Relation(0, *triple, [], []) for triple in triples])

    gold = linked(("causes", "a", "b"), ("causes", "c", "d"))
    assert kinds(gold, gold) == {"right": 2}
    assert kinds(linked(("causes", "a", "d")), gold) == {"wrong link": 1, "missed": 2}
    assert kinds(linked(("treats", "a", "b")), gold) == {"wrong type": 1, "missed": 1}
    # What was found with its right type is not confused with its other type.
    both = linked(("causes", "a", "b"), ("treats", "a", "b"), ("causes", "c", "d"))
    assert kinds(both, gold) == {"right": 2, "wrong link": 1}
    assert kinds(linked(("causes", "a", "z")), gold) == {"spurious": 1, "missed": 2}


def test_one_label_in_place_of_another_is_a_confusion_and_more_are_spurious_or_missed():
    def labelled(*names):
        return Annotations(labels=[Label("tc", name) for name in names])

    (confused,) = verdicts(labelled("no"), labelled("yes"))
    assert confused == ("wrong type", "yes", "no", None)
    found = kinds(labelled("a", "b"), labelled("b", "c"))
    assert found == {"right": 1, "spurious": 1, "missed": 1}


def test_events_are_judged_by_type_trigger_and_arguments():
    def happened(type_, **roles):
        players = [Argument(role, None, text) for role, text in roles.items()]
        return Annotations([mention(None, 4, 5)], events=[Event(0, type_, 0, players)])

    gold = happened("bind", Theme="p53", Cause="MDM2")
    assert kinds(happened("bind", Cause="MDM2", Theme="p53"), gold) == {"right": 1}
    assert kinds(happened("cut", Theme="p53", Cause="MDM2"), gold) == {"wrong type": 1}
    (fewer, missed) = verdicts(happened("bind", Theme="p53"), gold)
    assert (fewer.kind, fewer.what) == ("spurious", ("x", "Theme: p53"))
    assert (missed.kind, missed.what) == ("missed", ("x", "Cause: MDM2; Theme: p53"))


def test_a_mention_with_another_concept_has_the_wrong_link():
    def meant(id_):
        return Annotations([replace(mention("disease", 4, 10), concept=Concept("", id_))])

    (wrong,) = verdicts(meant("D2"), meant("D1"))
    assert wrong[:3] == ("wrong link", "D1", "D2")
    assert kinds(meant("D2"), meant("D1|D2")) == {"right": 1}
    assert kinds(Annotations([mention("disease", 4, 10)]), meant("D1")) == {"right": 1}

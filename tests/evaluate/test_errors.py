"""Kinds of errors: each annotation, predicted or missing, is judged once."""

from __future__ import annotations

from collections import Counter

import pytest

from taiyi_ray.evaluate.errors import verdicts
from taiyi_ray.records import Annotations, Label, Mention, Relation


def mention(type_: str, start: int | None, end: int | None) -> Mention:
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
    assert kinds(linked(("treats", "a", "b")), gold) == {"wrong type": 1, "missed": 2}
    assert kinds(linked(("causes", "a", "z")), gold) == {"spurious": 1, "missed": 2}


def test_one_label_in_place_of_another_is_a_confusion_and_more_are_spurious_or_missed():
    def labelled(*names):
        return Annotations(labels=[Label("tc", name) for name in names])

    (confused,) = verdicts(labelled("no"), labelled("yes"))
    assert confused == ("wrong type", "yes", "no", None)
    found = kinds(labelled("a", "b"), labelled("b", "c"))
    assert found == {"right": 1, "spurious": 1, "missed": 1}

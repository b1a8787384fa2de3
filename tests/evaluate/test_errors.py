"""Kinds of errors: each annotation, predicted or missing, is judged once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from taiyi_ray.evaluate.errors import verdicts
from taiyi_ray.metrics import METRICS
from taiyi_ray.records import Annotations, Argument, Concept, Event, Label, Mention, Relation
from tests.test_metrics import everything, random_cases


def mention(type_: str | None, start: int | None, end: int | None) -> Mention:
    return Mention(0, type_, "x", start, end)


def kinds(predicted: Annotations, gold: Annotations, metric: str) -> Counter[str]:
    return Counter(verdict.kind for verdict in verdicts(METRICS[metric], predicted, gold))


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
    first, *rest = verdicts(METRICS["strict_f1"], Annotations([predicted]), gold)
    assert (first.kind, (first.gold, first.predicted)) == (kind, types)
    assert [verdict.kind for verdict in rest] == (["missed"] if kind == "spurious" else [])


def test_relations_between_the_right_names_may_have_the_wrong_link_or_type():
    def linked(*triples):
        return Annotations(relations=[Relation(0, *triple, [], []) for triple in triples])

    gold = linked(("causes", "a", "b"), ("causes", "c", "d"))

    def judged(mine):
        return kinds(mine, gold, "string_f1")

    assert judged(gold) == {"right": 2}
    assert judged(linked(("causes", "a", "d"))) == {"wrong link": 1, "missed": 2}
    assert judged(linked(("treats", "a", "b"))) == {"wrong type": 1, "missed": 1}
    # What was found with its right type is not confused with its other type.
    both = linked(("causes", "a", "b"), ("treats", "a", "b"), ("causes", "c", "d"))
    assert judged(both) == {"right": 2, "wrong link": 1}
    assert judged(linked(("causes", "a", "z"))) == {"spurious": 1, "missed": 2}


def test_pairs_of_concepts_are_judged_by_their_concepts_and_shown_in_words():
    def named(id_, text, concept):
        return Mention(id_, None, text, 10 * id_, 10 * id_ + 5, concept=Concept("", concept))

    found = [named(0, "Famotidine", "D1"), named(1, "delirium", "D2"), named(2, "FAM", "D1")]
    gold = Annotations(found, [Relation(0, "cid", "Famotidine", "delirium", [0, 2], [1])])
    mine = Annotations(relations=[Relation(0, "cid", "FAM", "delirium", [], [], score=0.9)])
    (right,) = verdicts(METRICS["concept_f1"], mine, gold)
    assert right == ("right", "cid", "cid", ("FAM", "delirium"))
    assert kinds(mine, gold, "string_f1") == {"spurious": 1, "missed": 1}
    (wrong, missed) = verdicts(METRICS["linked_f1"], mine, gold)
    assert (wrong.kind, missed.kind) == ("spurious", "missed")
    assert missed.what == ("Famotidine", "delirium")


def test_one_label_in_place_of_another_is_a_confusion_and_more_are_spurious_or_missed():
    def labelled(*names):
        return Annotations(labels=[Label("tc", name) for name in names])

    (confused,) = verdicts(METRICS["micro_f1"], labelled("no"), labelled("yes"))
    assert confused == ("wrong type", "yes", "no", Label("tc", "no"))
    found = kinds(labelled("a", "b"), labelled("b", "c"), "micro_f1")
    assert found == {"right": 1, "spurious": 1, "missed": 1}


def test_the_labels_of_each_question_are_judged_by_themselves():
    gold = Annotations(labels=[Label("qa:1", "yes"), Label("qa:2", "no")])
    mine = Annotations(labels=[Label("qa:1", "no"), Label("qa:2", "yes")])
    found = list(verdicts(METRICS["accuracy"], mine, gold))
    assert [(one.kind, one.gold, one.predicted, one.what) for one in found] == [
        ("wrong type", "yes", "no", Label("qa:1", "no")),
        ("wrong type", "no", "yes", Label("qa:2", "yes")),
    ]


def test_events_are_judged_by_type_trigger_and_arguments():
    def happened(type_, **roles):
        players = [Argument(role, None, text) for role, text in roles.items()]
        return Annotations([mention(None, 4, 5)], events=[Event(0, type_, 0, players)])

    gold = happened("bind", Theme="p53", Cause="MDM2")
    assert kinds(happened("bind", Cause="MDM2", Theme="p53"), gold, "event_f1") == {"right": 1}
    other = happened("cut", Theme="p53", Cause="MDM2")
    assert kinds(other, gold, "event_f1") == {"wrong type": 1}
    (fewer, missed) = verdicts(METRICS["event_f1"], happened("bind", Theme="p53"), gold)
    assert (fewer.kind, fewer.what) == ("spurious", ("x", "Theme: p53"))
    assert (missed.kind, missed.what) == ("missed", ("x", "Cause: MDM2; Theme: p53"))


def test_a_mention_with_another_concept_has_the_wrong_link():
    def meant(id_):
        return Annotations([replace(mention("disease", 4, 10), concept=Concept("", id_))])

    (wrong,) = verdicts(METRICS["link_f1"], meant("D2"), meant("D1"))
    assert wrong[:3] == ("wrong link", "D1", "D2")
    assert kinds(meant("D2"), meant("D1|D2"), "link_f1") == {"right": 1, "missed": 1}
    assert kinds(meant("D2"), meant("D1"), "strict_f1") == {"right": 1}
    displaced = [replace(m, start=6, end=12) for m in meant("D1").mentions]
    (displaced_one,) = verdicts(METRICS["link_f1"], Annotations(displaced), meant("D1"))
    assert displaced_one[:3] == ("boundary", "disease", "disease")


@pytest.mark.parametrize("name", METRICS)
def test_the_kinds_of_errors_add_up_to_what_the_metric_counts(name):
    metric = METRICS[name]
    for draw in random_cases(11, 300):
        predicted, gold = everything(draw), everything(draw)
        if not metric.counts:
            assert not list(verdicts(metric, predicted, gold))
            continue
        found = list(verdicts(metric, predicted, gold))
        right, wrong, missing = metric.total(metric.sums(predicted, gold))
        assert sum(one.kind == "right" for one in found) == right
        assert sum(one.kind not in ("right", "missed") for one in found) == wrong
        assert sum(one.kind == "missed" for one in found) <= missing

"""Merging: what several answers state is kept once, with the ids of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from taiyi_ray.merging import merge
from taiyi_ray.records import (
    Annotations,
    Argument,
    Event,
    Label,
    Mention,
    Relation,
    Text,
)


def mention(number: int, type_: str | None, text: str, start: int | None, **more: Any) -> Mention:
    return Mention(number, type_, text, start, None if start is None else start + len(text), **more)


def test_merge_keeps_a_mention_once_in_text_order_and_typed_ones_replace_untyped_ones() -> None:
    named = Annotations([mention(0, "gene", "p53", 9), mention(1, "disease", "pain", 0)])
    again = Annotations([mention(0, "disease", "pain", 0), mention(1, "gene", "pain", 0)])
    related = Annotations(
        [mention(0, None, "p53", 9), mention(1, None, "pain", 0), mention(2, None, "flu", None)],
        [
            Relation(0, "treatment", "p53", "pain", [0], [1]),
            Relation(1, "x", "flu", "pain", [2], [1]),
        ],
    )
    merged = merge([named, again, related])
    assert [(m.id, m.type, m.text) for m in merged.mentions] == [
        (0, "disease", "pain"),
        (1, "gene", "pain"),
        (2, "gene", "p53"),
        (3, None, "flu"),
    ]
    assert merged.relations == [
        Relation(0, "treatment", "p53", "pain", [2], [0, 1]),
        Relation(1, "x", "flu", "pain", [3], [0, 1]),
    ]


def test_merge_joins_the_same_relation_of_two_answers_with_all_mentions_of_its_surfaces() -> None:
    """A third answer, about mentions, found both surfaces once more."""
    english_part = Annotations(
        [mention(0, None, "BRCA1", 0), mention(1, None, "TNBC", 6)],
        [Relation(0, "gene_disease", "BRCA1", "TNBC", [0], [1])],
    )
    chinese_part = Annotations(
        [mention(0, None, "TNBC", 30), mention(1, None, "BRCA1", 20)],
        [Relation(0, "gene_disease", "BRCA1", "TNBC", [1], [0])],
    )
    third = Annotations([mention(0, "gene", "BRCA1", 40), mention(1, "disease", "TNBC", 50)])
    assert merge([english_part, chinese_part, third]).relations == [
        Relation(0, "gene_disease", "BRCA1", "TNBC", [0, 2, 4], [1, 3, 5]),
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_merge_prefers_the_exact_match(order: int) -> None:
    folded = Annotations([mention(0, "disease", "pain", 0, grounded="folded")])
    exact = Annotations([mention(0, "disease", "pain", 0)])
    (kept,) = merge([folded, exact][::order]).mentions
    assert kept.grounded == "exact"


def test_merge_renumbers_triggers_and_arguments_and_keeps_an_event_once() -> None:
    def bound() -> Annotations:
        event = Event(0, "Binding", 1, [Argument("Theme", 0, "p53")])
        mentions = [mention(0, None, "p53", 9), mention(1, "Binding", "binds", 0)]
        return Annotations(mentions, events=[event])

    named = Annotations([mention(0, "gene", "p53", 9), mention(1, "verb", "binds", 0)])
    merged = merge([named, bound(), bound()])
    assert [(m.id, m.type, m.text) for m in merged.mentions] == [
        (0, "Binding", "binds"),
        (1, "verb", "binds"),
        (2, "gene", "p53"),
    ]
    assert merged.events == [Event(0, "Binding", 0, [Argument("Theme", 2, "p53")])]


def test_merge_unites_labels_and_keeps_every_text() -> None:
    one = Annotations(labels=[Label("tc", "a"), Label("tc", "b")], texts=[Text("mt:zh", "x")])
    other = Annotations(labels=[Label("tc", "b")], texts=[Text("title", "x")])
    merged = merge([one, other])
    assert merged.labels == [Label("tc", "a"), Label("tc", "b")]
    assert merged.texts == [Text("mt:zh", "x"), Text("title", "x")]


def test_merge_changes_nothing_that_it_is_given() -> None:
    def parts() -> list[Annotations]:
        related = Annotations(
            [mention(3, None, "p53", 9), mention(4, None, "pain", 0)],
            [Relation(5, "treatment", "p53", "pain", [3], [4])],
            [Event(6, "Binding", 3, [Argument("Theme", 4, "pain")])],
            [Label("tc", "a")],
            [Text("title", "x")],
        )
        return [Annotations([mention(7, "gene", "p53", 9)]), related]

    given = parts()
    merged = merge(given)
    assert given == parts()
    assert [m.id for m in merged.mentions] == [0, 1]
    assert merged.relations == [Relation(0, "treatment", "p53", "pain", [1], [0])]
    assert merged.events == [Event(0, "Binding", 1, [Argument("Theme", 0, "pain")])]


def test_merge_of_nothing() -> None:
    assert merge([]) == Annotations()

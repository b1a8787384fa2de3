"""Surfaces without offsets are located in the text of their document."""

from __future__ import annotations

import pytest

from taiyi_ray.formats import unplaced
from taiyi_ray.formats.gold import Gold
from taiyi_ray.formats.unplaced import Unplaced
from taiyi_ray.records import Concept, Document, passages
from tests.formats.annotated import check_contracts


def located(text: str, *surfaces: str, language: str = "en") -> Document:
    document = Document("d", passages([("text", language, text)]))
    gold = Gold(document, [0])
    found = Unplaced(gold, document)
    for surface in surfaces:
        found.mentions("x", surface)
    gold.settle()
    check_contracts(document)
    return document


def places(document: Document) -> list[tuple[str, int | None]]:
    return [(m.text, m.start) for m in document.gold.mentions]


def test_a_surface_stands_wherever_its_words_stand_but_not_inside_words() -> None:
    assert places(located("TNF, TNFR1 and tnf", "TNF")) == [("TNF", 0)]
    assert places(located("头疼和头痛", "头", language="zh")) == [("头", 0), ("头", 3)]


def test_a_surface_of_other_case_or_width_stands_there_too() -> None:
    assert places(located("做tct检查", "ＴＣＴ", language="zh")) == [("tct", 1)]


def test_a_surface_that_stands_nowhere_is_kept_and_counted() -> None:
    document = located("TNF", "IL-2", " ")
    assert places(document) == [("IL-2", None)]
    assert [e.kind for e in document.errors] == ["gold_offsets", "gold_left_out"]


def test_a_surface_that_is_named_again_is_no_further_mention() -> None:
    assert places(located("TNF binds TNF", "TNF", "TNF ")) == [("TNF", 0), ("TNF", 10)]


def test_a_surface_with_another_concept_is_a_mention_of_its_own() -> None:
    document = Document("d", passages([("text", "en", "TNF")]))
    gold = Gold(document, [0])
    found = Unplaced(gold, document)
    keys = [found.mentions("x", "TNF", concept) for concept in (None, Concept("", "1"))]
    gold.settle()
    assert keys[0] != keys[1]
    assert [m.concept for m in document.gold.mentions] == [None, Concept("", "1")]


def test_a_letter_that_stands_everywhere_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unplaced, "_MOST", 5)
    document = located("a b " * 10, "a", "b")
    assert places(document) == [*(("a", 4 * n) for n in range(5)), ("b", None)]
    monkeypatch.setattr(unplaced, "_LONGEST", 5)
    assert places(located("a b " * 10, "a")) == [("a", None)]


def test_searches_for_very_many_surfaces_in_a_long_text_have_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unplaced, "_MOST_SEARCHED", 20)
    document = located("TNF binds ", "IL-2", "IL-4", "TNF")
    assert places(document) == [("IL-2", None), ("IL-4", None), ("TNF", None)]
    assert places(located("TNF binds ", "IL-2", "TNF"))[1] == ("TNF", 0)

"""Type names: known by name and by both labels, unknown ones taken as they are, with a hint."""

from __future__ import annotations

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.tasks import TASKS, select
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, RELATION_TYPES, Term, hints, terms


def test_all_known_types_without_names() -> None:
    assert terms(None, MENTION_TYPES) == MENTION_TYPES
    assert terms(None, RELATION_TYPES) == RELATION_TYPES


@pytest.mark.parametrize("known", [MENTION_TYPES, RELATION_TYPES], ids=["mentions", "relations"])
def test_names_and_labels_are_unique_so_that_an_answer_s_line_has_one_type(
    known: tuple[Term, ...],
) -> None:
    for names in ([t.name for t in known], [t.en for t in known], [t.zh for t in known]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["gene", "disease"], ["gene", "disease"]),
        (["gene or protein"], ["gene"]),
        (["疾病", "cell line"], ["disease", "cell_line"]),
        (["disease", "疾病", "disease"], ["disease"]),
        ([], []),
    ],
)
def test_types_are_known_by_name_and_both_labels_each_once_in_order(
    names: list[str], found: list[str]
) -> None:
    assert [term.name for term in terms(names, MENTION_TYPES)] == found


def test_unknown_type_stands_for_itself_in_both_languages() -> None:
    assert terms(["dosage"], MENTION_TYPES) == (Term("dosage", "dosage", "dosage"),)


def test_label_is_in_the_language_of_the_question() -> None:
    gene = Term("gene", "gene or protein", "基因或蛋白质")
    assert (gene.label("en"), gene.label("zh")) == ("gene or protein", "基因或蛋白质")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (None, []),
        (["disease", "疾病", "gene or protein"], []),
        (["diseases"], ["'diseases' is not one of the default types; did you mean 'disease'?"]),
        (["qwxz"], ["'qwxz' is not one of the default types"]),
    ],
)
def test_hints(names: list[str] | None, found: list[str]) -> None:
    assert hints(names, MENTION_TYPES) == found


def test_tasks_are_selected_by_name_each_once() -> None:
    assert select(["re", "ner", "re"]) == [TASKS["re"], TASKS["ner"]]


def test_unknown_task_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        select(["ner", "nerr"])
    message = str(caught.value)
    assert message.startswith("unknown task 'nerr'; did you mean 'ner'?; known tasks: ner, re, ")

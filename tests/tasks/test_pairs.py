"""Similarity and entailment: what a pair is, its labels, gold there and back."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from taiyi_ray import catalogue
from taiyi_ray.records import Document, Label, passages
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import asked, back, chinese, corpus, english


def test_a_pair_is_two_passages_besides_the_title() -> None:
    document = Document(
        "d", passages([("title", "en", "T"), ("text", "zh", "头痛吗"), ("text", "zh", "头疼吗 ")])
    )
    (question,) = asked("similarity").questions(document)
    assert question.messages == [
        {
            "role": "user",
            "content": "下面两个语句的意思相同吗？\n语句1：头痛吗\n语句2：头疼吗\n"
            "从下列选项中回答一个：语义相同，语义不相同",
        }
    ]
    assert question.grammar == 'start: ("语义相同" | "语义不相同")\n'
    (mixed,) = asked("entailment").questions(
        Document("d", passages([("text", "en", "pain"), ("text", "zh", "头疼")]))
    )
    assert mixed.language == "en"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (english("one"), "1 passages besides the title"),
        (english("one", "two", "three"), "3 passages besides the title"),
        (
            Document("d", passages([("a", "en", "x"), ("a", "de", "y")])),
            "one of the texts is in neither Engl",
        ),
    ],
)
def test_no_pair(document: Document, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        asked("similarity").questions(document)


def test_each_text_shows_half_of_the_limit() -> None:
    assignment = asked("similarity")
    document = english("One two. Three four.", "Five six. Seven eight.")
    (question,) = assignment.task.questions(document, assignment, 24)
    assert question.window.text == "One two.\nFive six."
    assert "1. One two.\n2. Five six.\n" in question.messages[0]["content"]


@pytest.mark.parametrize(
    ("answer", "label", "problem"),
    [
        ("语义不相同", "not similar", None),
        ("Similar.", "similar", None),
        ("答案：语义相同", "similar", None),
        ("不知道", None, "invalid"),
        ("similar; not similar", "similar", "invalid"),
    ],
)
def test_answers(answer: str, label: str | None, problem: str | None) -> None:
    assignment = asked("similarity")
    document = chinese("头痛吗", "头疼吗")
    (question,) = assignment.questions(document)
    parsed = assignment.task.parse(answer, question, document)
    assert parsed.annotations.labels == ([Label("similarity", label)] if label else [])
    assert parsed.problem == problem


# -------------------------------------------------------------------------------------------- gold


@pytest.mark.parametrize(
    ("task", "name", "number"),
    [
        ("similarity", "CHIP-STS", 500),
        ("similarity", "KUAKE-QTR", 500),
        ("entailment", "mediqa_rqe", 302),
    ],
)
def test_gold_labels_come_back(shared_data: Path, task: str, name: str, number: int) -> None:
    assignment = asked(task, **catalogue.entry(name).options_of(task))
    found = list(islice(corpus(shared_data, name, "dev"), 500))
    assert len(found) == number
    for document, gold in found:
        assert back(assignment, document, gold).labels == gold.labels != []

"""Question answering: the run's questions and a document's own, every form, gold there and back."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Annotations, Document, Label, Text, passages
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import asked, back, chinese, corpus, english


def own(language: str, question: str, *choices: str, context: str = "") -> Document:
    """A document that holds its question."""
    parts = [("text", language, context), ("question", language, question)]
    return Document("d", passages(parts + [("choice", language, choice) for choice in choices]))


def test_questions_of_the_run_are_asked_of_every_document_in_its_language() -> None:
    assignment = asked("qa", questions={"safe": "Is it safe?", "why": "Why?"})
    document = Document("d", passages([("text", "zh", "安全。"), ("text", "en", "It is safe.")]))
    questions = assignment.questions(document)
    assert [(q.key, q.language, q.grammar) for q in questions] == [
        ("qa:safe", "en", None),
        ("qa:why", "en", None),
        ("qa:safe", "zh", None),
        ("qa:why", "zh", None),
    ]
    assert questions[0].messages[0]["content"] == (
        "Answer the question by the text.\nQuestion: Is it safe?\n"
        "Answer in a few sentences.\n\nIt is safe."
    )


def test_a_question_without_a_name_is_known_by_its_words() -> None:
    (question,) = asked("qa", questions=["Is it safe?"]).questions(english("x"))
    assert question.key == "qa:Is it safe?"


def test_own_questions_have_the_other_passages_as_context_or_none() -> None:
    assignment = asked("qa", form="choice")
    document = own("en", "Which?", "one", "two", context="The text.")
    (question,) = assignment.questions(document)
    assert question.key == "qa"
    assert question.window.text == "The text."
    assert question.messages[0]["content"] == (
        "Answer the question by the text.\nQuestion: Which?\nA. one\nB. two\n"
        "Answer with the letter of the right choice.\n\nThe text."
    )
    (alone,) = assignment.questions(own("zh", "哪一个？", "甲", "乙"))
    assert alone.messages[0]["content"] == (
        "回答问题。\n问题：哪一个？\nA. 甲\nB. 乙\n只回答正确选项的字母。"
    )


def test_several_own_questions_are_numbered_each_with_its_choices() -> None:
    parts = [("question", "One?"), ("choice", "a"), ("question", "Two?"), ("choice", "b")]
    document = Document("d", passages((type_, "en", text) for type_, text in parts))
    questions = asked("qa", form="choice").questions(document)
    assert [(q.key, [t.name for t in q.types]) for q in questions] == [
        ("qa:1", ["A"]),
        ("qa:2", ["A"]),
    ]
    assert "A. b" in questions[1].messages[0]["content"]


@pytest.mark.parametrize(
    ("form", "document", "reason"),
    [
        ("free", english("x"), "the run has no questions, and no passage has the type question"),
        ("choice", own("en", "Which?"), "no passage of the type choice follows a question"),
        (
            "free",
            own("de", "Was?"),
            "the run has no questions, and no passage has the type question",
        ),
    ],
)
def test_document_without_a_question_of_its_own(form: str, document: Document, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        asked("qa", form=form).questions(document)


@pytest.mark.parametrize(
    ("form", "answer", "label", "problem"),
    [
        ("yes_no_maybe", "yes", "yes", None),
        ("yes_no_maybe", "Maybe.", "maybe", None),
        ("yes_no", "maybe", None, "invalid"),
        ("yes_no", "Answer: no", "no", None),
        ("choice", "B", "wrong", None),
        ("choice", " (B) wrong", "wrong", None),
        ("choice", "B. right", "wrong", None),
        ("choice", "wrong", "wrong", None),
        ("choice", "C", None, "invalid"),
        ("choice", "Both", None, "invalid"),
        ("choice", "", None, "invalid"),
        ("choice", "B - wrong", "wrong", None),
        ("choice", "B right\nbecause", None, "invalid"),
        ("choice", "B wrong", "wrong", None),
        ("choice", "B is correct", "wrong", None),
        ("choice", "A because of the dose", "right", None),
        ("choice", "A\nThe dose is low.", "right", None),
        ("choice", "A 45-year-old man needs B", None, "invalid"),
        ("choice", "A patient", None, "invalid"),
        ("choice", "B-cell lymphoma", None, "invalid"),
        ("choice", "A型", None, "invalid"),
        ("choice", "B、因为", "wrong", None),
        ("choice", "B正确", "wrong", None),
        ("choice", "A, B", "right", "invalid"),
        ("choice", "(A), (B)", "right", "invalid"),
    ],
)
def test_answers(form: str, answer: str, label: str | None, problem: str | None) -> None:
    choices = {"choices": ["right", "wrong"]} if form == "choice" else {}
    assignment = asked("qa", form=form, questions={"q": "Is it?"}, **choices)
    document = english("x")
    (question,) = assignment.questions(document)
    parsed = assignment.task.parse(answer, question, document)
    assert parsed.annotations.labels == ([Label("qa:q", label)] if label else [])
    assert parsed.problem == problem


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("A 45-year-old man", "A"),  # the letter, and the words of its choice
        ("45-year-old man", "A"),
        ("B. E. coli", "B"),
        ("E. coli", "B"),
        ("A woman", "C"),
        ("A child", None),
    ],
)
def test_a_choice_is_named_by_its_letter_or_its_words(answer: str, label: str | None) -> None:
    document = own("en", "Who?", "45-year-old man", "E. coli", "A woman")
    assignment = asked("qa", form="choice")
    (question,) = assignment.questions(document)
    parsed = assignment.task.parse(answer, question, document)
    assert [one.label for one in parsed.annotations.labels] == ([label] if label else [])
    assert parsed.problem == (None if label else "invalid")


def test_free_answers_are_texts() -> None:
    assignment = asked("qa", questions={"q": "Is it?"})
    document = english("x")
    (question,) = assignment.questions(document)
    assert assignment.task.parse(" It is.\n", question, document).annotations.texts == [
        Text("qa:q", "It is.")
    ]
    assert assignment.task.parse(" \n", question, document).problem == "empty"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "choice", "questions": ["Is it?"]}, "give `choices` together with `questions`"),
        ({"choices": ["a"]}, "give `choices` together with `questions`"),
        ({"form": "maybe"}, "form: Input should be 'free'"),
        ({"questions": "Is it?"}, "expected a list of questions"),
        ({"question": ["Is it?"]}, "unknown setting 'question'; did you mean 'questions'?"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked("qa", **options)
    assert message in str(caught.value)


# -------------------------------------------------------------------------------------------- gold


@pytest.mark.parametrize(
    ("name", "split", "form", "number"),
    [
        ("pubmed_qa", "train", "yes_no_maybe", 500),
        ("bioasq_golden", "test", "yes_no", 53),
        ("MedMCQA", "dev", "choice", 300),
        ("med_qa", "test", "choice", 300),
    ],
)
def test_gold_labels_come_back(
    shared_data: Path, name: str, split: str, form: str, number: int
) -> None:
    assignment = asked("qa", form=form)
    found = [(d, gold) for d, gold in islice(corpus(shared_data, name, split), 500) if gold.labels]
    assert len(found) >= number
    for document, gold in found[:number]:
        assert back(assignment, document, gold).labels == gold.labels


def test_gold_answers_of_clinical_cases_come_back(shared_data: Path) -> None:
    """CMB-Clin: a case, several questions; only blanks around an answer are lost."""
    answers = 0
    for document, gold in corpus(shared_data, "cmb_clin", "test"):
        texts = [Text(text.task, text.text.strip()) for text in gold.texts]
        assert back(asked("qa"), document, gold).texts == texts
        answers += len(texts)
    assert answers == 208


def test_chinese_verdicts_come_back() -> None:
    gold = Annotations(labels=[Label("qa:q", "maybe")])
    assignment = asked("qa", form="yes_no_maybe", questions={"q": "安全吗？"})
    (question,) = assignment.questions(chinese("文本"))
    assert assignment.task.target(question, gold) == "不确定"
    assert back(assignment, chinese("文本"), gold).labels == gold.labels

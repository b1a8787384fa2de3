"""BioASQ: questions, snippets, exact and ideal answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taiyi_ray.formats import named
from taiyi_ray.records import Document, Label, Text
from tests.formats.annotated import read


def one(question: dict[str, Any], **options: str) -> Document:
    data = json.dumps({"username": "x", "questions": [question]})
    (document,) = read(named("bioasq", options), data, "a.json")
    return document


def test_a_yes_or_no_question_has_a_label_and_its_ideal_answer():
    snippets = [{"text": "S1", "beginSection": "title"}, {"text": "S2"}, {"text": "S1"}]
    question = {
        "id": "5be", "type": "yesno", "body": "Is it?", "documents": ["http://x/1", "http://x/2"],
        "snippets": snippets, "exact_answer": "Yes", "ideal_answer": ["", "Yes, it is."],
        "concepts": [], "triples": [],
    }  # fmt: skip
    document = one(question)
    assert document.document_id == "5be"
    assert [(p.type, p.text) for p in document.passages] == [
        ("text", "S1"), ("text", "S2"), ("question", "Is it?"),
    ]  # fmt: skip
    assert document.gold.labels == [Label("qa", "yes")]
    assert document.gold.texts == [Text("qa", "Yes, it is.")]
    assert document.metadata == {"documents": "http://x/1; http://x/2", "type": "yesno"}


def test_the_exact_answer_is_the_first_synonym_of_each_name():
    question = {
        "type": "list",
        "body": "?",
        "exact_answer": [["a", "b"], ["c"]],
        "ideal_answer": "i",
    }
    assert one(question, answer="exact").gold.texts == [Text("qa", "a; c")]
    assert one(question).gold.texts == [Text("qa", "i")]
    question = {"type": "factoid", "body": "?", "exact_answer": "a"}
    assert one(question, answer="exact").gold.texts == [Text("qa", "a")]
    assert one(question).gold.texts == []


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"type": "yesno"}, "the record has no body"),
        (
            {"body": "?", "type": "yesno", "exact_answer": "perhaps"},
            "exact_answer must be yes or no",
        ),
        ({"body": "?", "ideal_answer": [1]}, "ideal_answer must be a text"),
        ({"body": "?", "snippets": [{}]}, "the record has no text"),
    ],
)
def test_a_broken_question_says_why(question, message):
    document = one(question)
    assert (document.status, document.errors[0].kind) == ("failed", "invalid_record")
    assert message in document.errors[0].message


def test_names_that_are_no_names_fail_the_question():
    document = one({"body": "?", "exact_answer": [{"a": 1}]}, answer="exact")
    assert "exact_answer must be names" in document.errors[0].message


def test_a_file_without_questions_is_one_failed_record():
    (document,) = read(named("bioasq"), '{"x": []}', "a.json")
    assert document.errors[0].kind == "not_found"

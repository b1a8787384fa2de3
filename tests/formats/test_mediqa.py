"""MEDIQA: pairs of questions, and ranked answers."""

from __future__ import annotations

import pytest

from taiyi_ray.formats import named
from taiyi_ray.records import Label, Text
from tests.formats.annotated import read


def test_a_pair_is_two_passages_and_a_label() -> None:
    data = """<?xml version="1.0"?><MEDIQA2019-Task2-RQE-TestSet><pair pid="1" value="false">
    <chq> Kartagener&apos;s syndrome
    (x) </chq><faq>What is it?</faq></pair><pair pid="2"><chq>a</chq><faq>b</faq></pair>
    </MEDIQA2019-Task2-RQE-TestSet>"""
    first, second = read(named("mediqa"), data, "a.xml")
    assert [(p.type, p.text) for p in first.passages] == [
        ("text_1", "Kartagener's syndrome\n    (x)"),
        ("text_2", "What is it?"),
    ]
    assert (first.document_id, first.gold.labels) == ("1", [Label("entailment", "false")])
    assert second.gold.labels == []


def test_the_answer_of_a_question_is_the_one_of_the_best_rank() -> None:
    data = """<Other><Question QID="2"><QuestionText>q?</QuestionText><AnswerList>
    <Answer ReferenceRank="2"><AnswerText>no</AnswerText></Answer>
    <Answer ReferenceRank="1"><AnswerText>yes</AnswerText></Answer>
    <Answer><AnswerText>x</AnswerText></Answer></AnswerList></Question></Other>"""
    (document,) = read(named("mediqa", {"root": "Other"}), data, "a.xml")
    assert [(p.type, p.text) for p in document.passages] == [("question", "q?")]
    assert document.gold.texts == [Text("qa", "yes")]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("", "empty"),
        ("<Other/>", "not_mediqa"),
        ("<pair pid='1'><chq>a</chq></pair>", "malformed"),
        ("<pair pid='1'><chq>a", "truncated"),
    ],
)
def test_a_broken_file_says_why(data: str, kind: str) -> None:
    (document,) = read(named("mediqa"), data, "a.xml")
    assert document.errors[0].kind == kind

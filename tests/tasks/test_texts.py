"""Answers that are texts: kept as they are, without the white space around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.records import Annotations, Text
from taiyi_ray.tasks import texts
from taiyi_ray.tasks.task import Counts
from tests.samples import asked, english

DOCUMENT = english("text")
(QUESTION,) = asked("title").questions(DOCUMENT)


@given(answer=st.text(), cut=st.booleans())
def test_an_answer_is_the_text(answer: str, cut: bool) -> None:
    parsed = texts.parse(answer, QUESTION, DOCUMENT, cut=cut)
    kept = answer.strip()
    assert parsed.annotations.texts == ([Text("title", kept)] if kept else [])
    assert parsed.problem == (None if kept else "empty")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [([Text("title", " T\n")], "T"), ([Text("summary", "S")], ""), ([], "")],
)
def test_target_is_the_text_of_this_task(gold: list[Text], answer: str) -> None:
    assert texts.target(QUESTION, Annotations(texts=gold)) == answer


def test_score_compares_task_and_text() -> None:
    mine = Annotations(texts=[Text("title", "a"), Text("summary", "b")])
    gold = Annotations(texts=[Text("title", "a"), Text("summary", "c")])
    assert texts.score(mine, gold) == Counts(tp=1, fp=1, fn=1)

"""Thinking is no part of an answer: not of lists, labels or texts, nor of their scores."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.tasks import TASKS, thinking
from taiyi_ray.tasks.scores import Scores
from tests import samples
from tests.samples import asked, english


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("disease: pain", "disease: pain"),
        ("<think>\n\n</think>\n\ndisease: pain", "\n\ndisease: pain"),
        ("<think>disease: flu?\nNo.</think>disease: pain", "disease: pain"),
        ("disease: flu? No.</think>disease: pain", "disease: pain"),
        ("<think>disease: flu; pain", ""),
        ("<think>a</think><think>b</think>c", "c"),
        ("<think>a</think>b<think>c", "b"),
        ("<THINKING>a</THINKING> b", " b"),
        ("[THINK]a[/THINK]b", "b"),
        ("<think></think>", ""),
        ("p < think > q", "p < think > q"),
        ("", ""),
    ],
)
def test_the_answer_is_what_follows_the_last_thought(text: str, answer: str) -> None:
    assert thinking.answer(text, None) == (answer, None)


THOUGHTS = st.lists(st.text("ab; disease:<\n无"), max_size=2)


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=40)
@given(thoughts=THOUGHTS, opened=st.booleans(), data=st.data())
def test_every_task_reads_an_answer_with_thoughts_as_the_answer_alone(
    name: str, thoughts: list[str], opened: bool, data: st.DataObject
) -> None:
    (assignment,) = samples.every(name, grammar=False)
    question = data.draw(st.sampled_from(assignment.questions(document := samples.everything())))
    answer = data.draw(st.sampled_from(["none", "Result: Treatment", "treatment: [Aspirin, pain]"]))
    before = "".join(f"<think>{thought}</think>\n" for thought in thoughts)
    if not opened:  # the chat template did it
        before = before.removeprefix("<think>")
    whole = before + answer

    def read(text: str) -> object:
        places = range(len(text))
        scores = Scores(text, places, [-float(len(text) - at) for at in places])
        return assignment.task.parse(text, question, document, scores=scores)

    assert read(whole) == read(answer)


@pytest.mark.parametrize("name", TASKS)
def test_a_thought_without_end_is_no_answer(name: str) -> None:
    (assignment,) = samples.every(name, grammar=False)
    for question in assignment.questions(document := samples.everything()):
        cut = "<think>Aspirin eased pain; treatment: [Aspirin, pain]"
        assert assignment.task.parse(cut, question, document, cut=True) == assignment.task.parse(
            "", question, document, cut=True
        )


def test_what_stands_in_the_text_may_look_like_a_thought_under_a_grammar() -> None:
    document = english("The tag </think> ends it.")
    (question,) = asked("ner", "disease,gene").questions(document)
    found = asked("ner").task.parse("disease: tag </think> ends", question, document)
    assert [mention.text for mention in found.annotations.mentions] == ["tag </think> ends"]


def test_scores_of_a_part_are_those_of_its_whole_tokens() -> None:
    scores = Scores("<x>a; b", [0, 1, 2, 4, 5, 6], [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0])
    part = scores.part(3, 7)
    assert (part.text, list(part.starts), list(part.logprobs)) == (
        "a; b",
        [1, 2, 3],
        [-4.0, -5.0, -6.0],
    )

"""Dialogue: turns become messages; the answer is the doctor's next turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.records import Annotations, Document, Text, passages
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import asked, back, corpus

SAID = "You are a doctor in a consultation. Answer the patient's last message, and ask what you still need to know."  # noqa: E501


def turns(*said: tuple[str, str], language: str = "en") -> Document:
    return Document("d", passages((type_, language, text) for type_, text in said))


@pytest.mark.parametrize(
    ("said", "messages"),
    [
        ([("patient", "It hurts.")], [f"{SAID}\n\nIt hurts."]),
        (
            [("user", "Hello."), ("assistant", "Yes?"), ("user", "It hurts."), ("user", "Here.")],
            [f"{SAID}\n\nHello.", "Yes?", "It hurts.\nHere."],
        ),
        ([("doctor", "Yes?"), ("patient", "It hurts.")], [SAID, "Yes?", "It hurts."]),
        ([("title", "Pain"), ("patient", "It hurts.")], [f"{SAID}\n\nIt hurts."]),
    ],
)
def test_turns_are_messages_of_user_and_assistant_in_turn(
    said: list[tuple[str, str]], messages: list[str]
) -> None:
    (question,) = asked("dialogue", document_first=True).questions(turns(*said))
    assert [m["content"] for m in question.messages] == messages
    roles = [m["role"] for m in question.messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (turns(("text", "It hurts.")), "no passage has one of the types patient, user"),
        (turns(("patient", "It hurts."), ("doctor", "Where?")), "the last turn is the doctor's"),
        (turns(("patient", "Es schmerzt."), language="de"), "no text in English or Chinese"),
    ],
)
def test_nothing_to_answer(document: Document, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        asked("dialogue").questions(document)


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (None, "I am ill.\nHow?\nIt hurts a lot."),
        (22, "How?\nIt hurts a lot."),
        (16, "It hurts a lot."),
        (6, "a lot."),
    ],
)
def test_within_a_limit_the_last_turns_count(limit: int | None, text: str) -> None:
    document = turns(("patient", "I am ill."), ("doctor", "How?"), ("patient", "It hurts a lot."))
    assignment = asked("dialogue")
    (question,) = assignment.task.questions(document, assignment, limit)
    assert question.window.text == text
    whole = document.text
    assert "\n".join(whole[s.start : s.end] for s in question.window.spans) == text


def test_gold_turns_come_back(shared_data: Path) -> None:
    answers = 0
    for whole, whole_gold in corpus(shared_data, "dxy_dialogue", "test"):
        said = [p.text.strip() for p in whole.passages] + [t.text for t in whole_gold.texts]
        for n in range(1, len(said), 2):
            types = ("patient", "doctor") * n
            document = turns(*zip(types, said[:n], strict=False), language="zh")
            gold = Annotations(texts=[Text("dialogue", said[n])])
            assert back(asked("dialogue"), document, gold).texts == gold.texts
            answers += 1
    assert answers == 287

"""General dialogue: training data, and nothing to annotate with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Document, Text, passages
from taiyi_ray.tasks import TASKS, TRAINING_ONLY, assign, losses
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import corpus

CHAT = TRAINING_ONLY["chat"]


def document(*turns: tuple[str, str]) -> Document:
    return Document("d", passages((type_, "en", text) for type_, text in turns))


def test_a_chat_is_learnt_from_as_it_is_with_all_its_turns() -> None:
    (assignment,) = assign(["chat"], {}, training=True)
    talk = document(
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "1+1?"),
        ("assistant", "One and one. So: 2"), ("user", "Thanks"),
    )  # fmt: skip
    ((question, gold),) = CHAT.lessons(talk, assignment)
    assert CHAT.conversation(question, gold) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "One and one. So: 2"},
    ]
    assert CHAT.lost(question, gold) == {}


def test_a_chat_without_an_answer_teaches_nothing() -> None:
    (assignment,) = assign(["chat"], {}, training=True)
    for talk in (document(("user", "Hi")), document(("assistant", "Hi")), document()):
        with pytest.raises(NotApplicable):
            CHAT.lessons(talk, assignment)


def test_nobody_is_asked_to_chat() -> None:
    assert "chat" not in TASKS
    with pytest.raises(ConfigError, match="the task 'chat' is for training data only"):
        assign(["chat"], {})


def test_the_answers_of_real_conversations_come_back(shared_data: Path) -> None:
    (assignment,) = assign(["chat"], {}, training=True)
    blanks: Counter[str] = Counter()
    read = 0
    for document, gold in corpus(shared_data, "taiyi_example", "train"):
        ((question, answer),) = CHAT.lessons(document, assignment)
        blanks += CHAT.lost(question, answer)
        found = CHAT.parse(CHAT.target(question, answer), question, document)
        assert found.problem is None
        (text,) = gold.texts
        assert found.annotations.texts == [Text(text.task, text.text.strip())]
        read += 1
    assert (read, blanks) == (21, {losses.BLANK: 4})

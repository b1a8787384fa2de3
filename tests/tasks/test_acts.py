"""Dialogue acts: the turns that are asked about, their labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taiyi_ray.records import Annotations, Document, Label, passages
from taiyi_ray.tasks import TASKS, acts
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import asked, back, english

VISIT = Document(
    "d",
    passages(
        [
            ("title", "en", "A visit"),
            ("patient", "en", "I have a headache."),
            ("doctor", "en", "Since when?"),
            ("patient", "de", "Seit gestern."),
            ("patient", "zh", "两天了。"),
        ]
    ),
)


def test_each_turn_has_a_question_that_shows_its_window_with_numbers() -> None:
    questions = asked("act", labels=["ask", "tell"], document_first=True).questions(VISIT)
    assert [(q.key, q.language) for q in questions] == [
        ("act:1", "en"),
        ("act:2", "en"),
        ("act:4", "zh"),
    ]
    text = "A visit\n[1] Patient: I have a headache.\n[2] Doctor: Since when?\n\n"
    assert all(q.messages[0]["content"].startswith(text) for q in questions[:2])
    assert "turn 2" in questions[1].messages[0]["content"]
    assert questions[2].messages[0]["content"].startswith("[4] 患者：两天了。\n\n")


def test_the_last_turn_alone_has_the_bare_name() -> None:
    (question,) = asked("act", turns="last").questions(VISIT)
    assert (question.key, question.language) == ("act", "zh")
    assert len(question.types) == len(acts.ACTS) == 16


def test_a_document_without_turns_is_not_asked_about() -> None:
    with pytest.raises(NotApplicable, match="no passage of the types patient"):
        asked("act").questions(english("no turns"))


def test_every_turn_is_asked_about_once_however_the_dialogue_is_cut() -> None:
    assignment = asked("act")
    for limit in (5, 30, 1000):
        keys = [q.key for q in assignment.task.questions(VISIT, assignment, limit)]
        assert sorted(keys) == ["act:1", "act:2", "act:4"]
    assert acts.asks(VISIT, assignment) == 3


def test_gold_labels_come_back() -> None:
    gold = Annotations(labels=[Label("act:1", "inform_symptom"), Label("act:2", "request_symptom")])
    assignment = asked("act")
    two = Document("d", VISIT.passages[:3])
    assert back(assignment, two, gold).labels == gold.labels
    question = assignment.questions(two)[0]
    assert TASKS["act"].target(question, gold) == "inform: symptom"
    assert TASKS["act"].lost(question, gold) == {}


def test_the_act_of_real_turns_comes_back(shared_data: Path) -> None:
    """PromptCBLUE's records of IMCS-V2-DAC: a turn, and the acts that the record offers."""
    read = 0
    for split in ("train", "dev"):
        text = (shared_data / "promptcblue-toy" / f"{split}.jsonl").read_text("utf-8")
        for record in map(json.loads, text.splitlines()):
            if record["task_dataset"] != "IMCS-V2-DAC":
                continue
            act = record["target"]
            document = Document("d", passages([("patient", "zh", record["input"].split("\n")[0])]))
            labels = list(dict.fromkeys([*record["answer_choices"], act]))
            gold = Annotations(labels=[Label("act", act)])
            assignment = asked("act", turns="last", labels=labels)
            (question,) = assignment.questions(document)
            assert assignment.task.lost(question, gold) == {}
            assert back(assignment, document, gold) == gold
            read += 1
    assert read == 10

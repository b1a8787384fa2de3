"""Instruction data: each form's turns, and its last answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taiyi_ray.formats import named
from taiyi_ray.records import Document, Text
from tests.formats.annotated import read


def one(record: Any, form: str, **options: Any) -> Document:
    format_ = named("instructions", {"form": form, **options})
    (document,) = read(format_, json.dumps(record), "a.jsonl")
    return document


def turns(document: Document) -> list[tuple[str, str]]:
    return [(p.type, p.text) for p in document.passages]


def test_taiyi():
    said = [{"human": "a", "assistant": "b"}, {"human": "c", "assistant": "d"}]
    record = {"conversation_id": 5, "dataset": "x", "language": "en-zh", "conversation": said}
    document = one(record, "taiyi")
    assert turns(document) == [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert (document.document_id, document.gold.texts) == ("5", [Text("chat", "d")])
    assert document.metadata == {"dataset": "x", "language": "en-zh"}


def test_promptcblue():
    record = {"input": "甲", "target": "乙", "answer_choices": ["x", "y"], "sample_id": "dev-1"}
    document = one(record, "promptcblue", task="tc")
    assert (turns(document), document.document_id) == ([("user", "甲")], "dev-1")
    assert document.gold.texts == [Text("tc", "乙")]
    assert document.metadata == {"answer_choices": "x; y"}


def test_a_record_of_a_test_set_has_no_answer():
    assert one({"input": "a", "target": ""}, "promptcblue").gold.texts == []


def test_alpaca():
    record = {"instruction": "Translate.", "input": "hund", "output": "dog"}
    document = one(record, "alpaca")
    assert turns(document) == [("user", "Translate."), ("user", "hund")]
    assert document.gold.texts == [Text("chat", "dog")]
    assert turns(one({**record, "input": None}, "alpaca")) == [("user", "Translate.")]


def test_the_turns_in_an_alpaca_instruction():
    record = {"instruction": " <user>: a <bot>: b: c <user>: d", "input": "", "output": "e"}
    speakers = {"<user>:": "user", "<bot>:": "assistant"}
    document = one(record, "alpaca", speakers=speakers)
    assert turns(document) == [("user", "a"), ("assistant", "b: c"), ("user", "d")]


def test_sharegpt_and_messages():
    said = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "a"},
        {"from": "gpt", "value": "b"},
    ]
    document = one({"id": "x", "conversations": said}, "sharegpt")
    assert turns(document) == [("system", "s"), ("user", "a")]
    assert document.gold.texts == [Text("chat", "b")]
    said = [{"role": "user", "content": "a"}]
    document = one({"messages": said}, "messages")
    assert (turns(document), document.gold.texts) == ([("user", "a")], [])


@pytest.mark.parametrize(
    ("record", "form", "message"),
    [
        ({}, "taiyi", "the record has no turns in conversation"),
        ({"conversation": [{"assistant": "a"}]}, "taiyi", "the record has no human"),
        (
            {"conversations": [{"from": "cat", "value": "a"}]},
            "sharegpt",
            "from 'cat' is nobody known",
        ),
        ({"conversations": {}}, "sharegpt", "conversations must be a list of objects"),
        ({"instruction": "a"}, "alpaca", "the record has no output"),
        ({"input": "a", "target": 1}, "promptcblue", "target must be a string"),
    ],
)
def test_a_broken_record_says_why(record, form, message):
    document = one(record, form)
    assert (document.status, document.errors[0].kind) == ("failed", "invalid_record")
    assert message in document.errors[0].message

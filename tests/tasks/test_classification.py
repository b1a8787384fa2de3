"""What classification asks; its answers are those of `test_labels.py`."""

from __future__ import annotations

from typing import Any

import pytest

from taiyi_ray.errors import ConfigError
from tests.samples import asked, chinese, english


@pytest.mark.parametrize(
    ("several", "document", "instruction"),
    [
        (False, english("x"), 'Classify the text. Labels: A, B\nAnswer "Result: label".'),
        (
            True,
            english("x"),
            "Classify the text. Several labels may be true, or none. Labels: A, B\n"
            'Answer "Result: label; label", and "Result: none" if no label is true.',
        ),
        (
            False,
            chinese("x"),
            "对文本进行分类。类型选项：A，B\n回答“上述文本被分类为：类型”。",
        ),
    ],
)
def test_instruction(several: bool, document: Any, instruction: str) -> None:
    (question,) = asked("tc", labels=["A", "B"], several=several).questions(document)
    assert question.messages == [{"role": "user", "content": f"{instruction}\n\nx"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "labels is missing; an example: `tc: {labels: [Treatment, Prevention], several"),
        ({"labels": []}, "expected one name at least"),
        ({"labels": "A"}, "expected a list of names"),
        ({"labels": [True, False]}, "a name must be text, not True: put it in quotes"),
        ({"labels": ["a; b"]}, "must not be blank nor hold ;"),
        ({"labels": {"a": {"fr": "b"}}}, "a: expected its labels, as in {en: treatment"),
        ({"labels": ["A"], "severl": True}, "unknown setting 'severl'; did you mean 'several'?"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked("tc", **options)
    assert str(caught.value).startswith("--task-file: tc: ")
    assert message in str(caught.value)

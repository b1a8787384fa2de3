"""What classification asks; its answers are those of `test_labels.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.config import NotebookConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.tasks import assigned
from tests.samples import asked, chinese, english


@pytest.mark.parametrize(
    ("multi_label", "document", "instruction"),
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
def test_instruction(multi_label: bool, document: Any, instruction: str) -> None:
    (question,) = asked("tc", labels=["A", "B"], multi_label=multi_label).questions(document)
    assert question.messages == [{"role": "user", "content": f"{instruction}\n\nx"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "labels is missing; an example: `tc: {labels: [Treatment, Prevention], multi_label"),
        ({"labels": []}, "expected one name at least"),
        ({"labels": "A"}, "expected a list of names"),
        ({"labels": [True, False]}, "a name must be text, not True: put it in quotes"),
        ({"labels": ["a; b"]}, "must not be blank nor hold ;"),
        ({"labels": {"a": {"fr": "b"}}}, "a: expected its labels, as in {en: treatment"),
        (
            {"labels": ["A"], "multi_labl": True},
            "unknown setting 'multi_labl'; did you mean 'multi_label'?",
        ),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked("tc", **options)
    assert str(caught.value).startswith("--task-file: tc: ")
    assert message in str(caught.value)


def test_the_older_name_of_an_option_is_read_with_one_note(tmp_path: Path) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text("tc: {labels: [A, B], several: true}\n")
    config = NotebookConfig(task_file=str(file))
    (assignment,), notes = assigned(config)
    assert notes == [f"--task-file {file}: tc: the option 'several' is called 'multi_label' now"]
    assert assignment.options.multi_label
    assert assignment.identity() == asked("tc", labels=["A", "B"], multi_label=True).identity()


def test_an_option_under_both_of_its_names_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'several'"):
        asked("tc", labels=["A"], several=True, multi_label=True)


def test_the_identity_has_the_name_that_the_option_had_first() -> None:
    identity = asked("tc", labels=["A"], multi_label=True).identity()
    assert list(identity) == ["version", "templates", "labels", "several"]
    assert identity["several"] is True

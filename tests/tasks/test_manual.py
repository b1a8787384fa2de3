"""The manual of the tasks is that of the code, and its answers are read as what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.manual import EXAMPLES, Described, described, described_to, manual, table
from taiyi_ray.tasks.task import Counts
from taiyi_ray.tasks.template import PLAIN_FORM, SHORT_FORM
from tests.samples import back

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_manual_is_up_to_date() -> None:
    assert (DOCS / "tasks.md").read_text("utf-8") == manual(), "run `make docs`"


def test_the_table_has_a_row_for_each_task() -> None:
    rows = table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(TASKS)
    assert all(row.count(" |") == 5 for row in rows)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_examples_come_back_from_their_answers(name: str, language: str) -> None:
    example = EXAMPLES[name]
    document, gold = example.document(language), example.gold[language]
    for mention in gold.mentions:
        assert document.text[mention.start : mention.end] == mention.text
    (assignment,) = assign([name], {name: example.options})
    score = TASKS[name].score(back(assignment, document, gold), gold)
    assert (score.fp, score.fn) == (0, 0)
    assert score == Counts(score.tp, 0, 0)
    assert score.tp >= 1


@pytest.mark.parametrize("task", described(), ids=lambda task: task.name)
def test_a_default_that_is_described_can_be_given_back(task: Described) -> None:
    defaults = {
        name: known["default"] for name, known in task.options.items() if known.get("default")
    }
    needed = task.example["options"][task.name] if task.needs_options else {}
    assert assign([task.name], {task.name: defaults | needed}) == assign(
        [task.name], {task.name: needed}
    )


def test_the_defaults_that_are_described_are_those_of_the_model() -> None:
    assert described_to(PLAIN_FORM) == described()
    form = SHORT_FORM.model_copy(update={"tasks": {"ner": {"types": ["gene or protein", "x"]}}})
    told = {one.name: one.options for one in described_to(form)}
    assert told["ner"]["types"]["default"] == ["gene", "x"]
    assert told["ner"]["ask"] == described()[0].options["ask"]
    assert told["re"]["wording"]["default"] == SHORT_FORM.wording
    assert "default" not in told["tc"]["labels"]

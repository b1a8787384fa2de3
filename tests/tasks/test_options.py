"""Task files, and options that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Document, passages
from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.options import TaskOptions, later, named, read_file
from taiyi_ray.tasks.task import NotApplicable
from taiyi_ray.tasks.template import AskingForm
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, Term
from tests.samples import OPTIONS, chinese


def written(folder: Path, text: str) -> str:
    path = folder / "tasks.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_task_file_names_tasks_and_their_options(tmp_path: Path) -> None:
    path = written(tmp_path, "tc: {labels: [A, B]}\ntitle:\nmt: {to: zh}\n")
    assert read_file(path) == {"tc": {"labels": ["A", "B"]}, "title": {}, "mt": {"to": "zh"}}


def test_a_task_file_may_lie_in_s3(bucket: str) -> None:
    storage.put_if_absent(f"{bucket}/tasks.yaml", b"mt: {to: zh}")
    assert read_file(f"{bucket}/tasks.yaml") == {"mt": {"to": "zh"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected tasks and their options, as in `mt: {to: zh}`"),
        ("- tc", "expected tasks and their options"),
        ("tc: [A]", "tc: expected options"),
        ("1: {}", "1: expected options"),
        ("tc: {labels: [", "not YAML in UTF-8"),
    ],
)
def test_another_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"--task-file {path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"--task-file nowhere\.yaml: No such file"):
        read_file("nowhere.yaml")


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        (["疾病", "chemical"], (MENTION_TYPES[1], MENTION_TYPES[0])),
        (["organ", "organ"], (Term("organ", "organ", "organ"),)),
        ({"organ": None}, (Term("organ", "organ", "organ"),)),
        ({"organ": {"zh": "器官"}}, (Term("organ", "organ", "器官"),)),
    ],
)
def test_terms_are_names_or_names_with_labels(value: object, terms: tuple[Term, ...]) -> None:
    from typing import Annotated

    adapter = TypeAdapter(Annotated[tuple[Term, ...], named(MENTION_TYPES)])
    assert adapter.validate_python(value) == terms


@pytest.mark.parametrize("value", [[], {}, "disease", [1], [" x"], ["a;b"], {"a": "b"}, None])
def test_other_terms_are_errors(value: object) -> None:
    from typing import Annotated

    with pytest.raises(ValidationError):
        TypeAdapter(Annotated[tuple[Term, ...], named()]).validate_python(value)


def test_options_of_a_run_are_checked_and_errors_name_where_they_come_from() -> None:
    with pytest.raises(ConfigError, match=r"^here: summary: unknown setting 'sentence'; did you"):
        assign(["summary"], {"summary": {"sentence": 2}}, origin="here")
    with pytest.raises(
        ConfigError, match=r"^here: title: there is no wording 21; choose from 1 to 20$"
    ):
        assign(["title"], {"title": {"wording": 21}}, origin="here")


def test_several_questions_share_the_document() -> None:
    assert [a.document_first for a in assign(["title"], {})] == [False]
    assert [a.document_first for a in assign(["title", "summary"], {})] == [True, True]
    assert [a.document_first for a in assign(["mt"], {})] == [False]
    assert [a.document_first for a in assign(["mt", "similarity"], {})] == [False, False]


def test_an_option_that_a_task_gets_later_leaves_identities_as_they_are_at_its_default() -> None:
    class Before(TaskOptions):
        """Options as they were."""

        type: str = "disease"

    class Now(Before):
        """The same with one more."""

        deep: bool = later(False, "look twice")

    assert Now().identity() == Now(deep=False).identity() == Before().identity()
    assert Now(deep=True).identity() == Before().identity() | {"deep": True}


RELEASED = {
    "ner": {"types", "ask"},
    "re": {"relations"},
    "ee": {"types"},
    "tc": {"labels", "several"},
    "qa": {"form", "questions", "choices"},
    "mt": {"to"},
    "title": set(),
    "summary": {"sentences"},
    "similarity": {"labels"},
    "entailment": {"labels"},
    "dialogue": set(),
    "report": {"sections"},
    "nen": {"terms", "db", "mentions", "candidates"},
    "coref": set(),
    "act": {"labels", "turns"},
    "causal": {"types"},
    "text2dt": set(),
}
"""The options in the identities of outputs that exist, by task."""


@pytest.mark.parametrize("name", RELEASED)
def test_no_option_is_added_to_the_identities_of_outputs_that_exist(name: str) -> None:
    options = TASKS[name].options(**OPTIONS.get(name, {}))
    assert options.identity().keys() == RELEASED[name], "a new option is `later`"


def test_a_text_is_asked_about_in_the_languages_that_are_wanted() -> None:
    both = Document("", passages([("pain", "en", "title"), ("疼痛", "zh", "title")]))
    (asked,) = assign(["ner"], {"ner": {"types": ["disease"]}})
    form = AskingForm(tasks={"ner": {"languages": ["en"]}})
    wanted = asked.in_form(form)
    assert [question.language for question in asked.questions(both)] == ["en", "zh"]
    assert [question.language for question in wanted.questions(both)] == ["en"]
    with pytest.raises(NotApplicable, match=r"^no text in English \(the option languages\)$"):
        wanted.questions(chinese("疼痛"))
    assert "languages" not in asked.identity() and wanted.identity()["languages"] == ["en"]
    (chosen,) = assign(["ner"], {"ner": {"types": ["disease"], "languages": ["en", "zh"]}})
    assert chosen.in_form(AskingForm(tasks={"ner": {"languages": ["en"]}})).questions(
        chinese("疼痛")
    )
    assert chosen.identity() == asked.identity()
    with pytest.raises(ConfigError, match="languages"):
        assign(["ner"], {"ner": {"languages": []}})

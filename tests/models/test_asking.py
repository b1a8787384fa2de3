"""The form of questions that a model wants, as a file in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray import models
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.prepare import asking_form, prepare
from taiyi_ray.errors import ConfigError, ModelError
from taiyi_ray.tasks import assigned
from taiyi_ray.tasks.task import Assignment
from taiyi_ray.tasks.template import PLAIN_FORM, SHORT_FORM, AskingForm
from tests.models.tiny import make_adapter, make_model


def settings(**given: object) -> AnnotateConfig:
    return AnnotateConfig(inputs=["in"], output="out", **given)  # type: ignore[arg-type]


TRAINED = SHORT_FORM.model_copy(
    update={
        "document_first": True,
        "tasks": {"ner": {"types": ["disease", "gene"]}, "re": {"relations": ["gene_disease"]}},
    }
)
"""The form of a model that also says where the document stands, and what it was trained on."""


@pytest.mark.parametrize("form", [PLAIN_FORM, SHORT_FORM, AskingForm(wording=2), TRAINED])
def test_a_folder_names_the_form_that_was_written_there(tmp_path: Path, form: AskingForm) -> None:
    assert models.asking_form(str(tmp_path)) is None
    models.write_asking_form(str(tmp_path), form)
    assert models.asking_form(str(tmp_path)) == form


def test_a_bucket_names_it_too(bucket: str) -> None:
    assert models.asking_form(f"{bucket}/data") is None
    models.write_asking_form(f"{bucket}/data", SHORT_FORM)
    assert models.asking_form(f"{bucket}/data") == SHORT_FORM


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("short", "Invalid JSON"),
        ('{"wording": 0}', "wording: Input should be greater than or equal to 1"),
        ('{"words": 4}', "unknown setting 'words'"),
        ('{"tasks": {"nerd": {}}}', "unknown task 'nerd'"),
        ('{"tasks": {"ner": {"types": []}}}', "tasks: ner: types: expected one name at least"),
    ],
)
def test_a_file_that_names_no_form_is_told_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / models.ASKING_FILE).write_text(text)
    with pytest.raises(ModelError) as caught:
        models.asking_form(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / models.ASKING_FILE}: ")
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_is_asked_in_the_form_of_its_folder_unless_the_user_says_otherwise(
    tmp_path: Path,
) -> None:
    folder = make_model(tmp_path / "model")
    given = {"model": str(folder), "grounding": "align"}
    assert prepare(settings(**given)).form == PLAIN_FORM
    models.write_asking_form(str(folder), SHORT_FORM)
    assert prepare(settings(**given)).form == asking_form(settings(**given)) == SHORT_FORM
    assert asking_form(settings(**given, wording=2)) == AskingForm(wording=2)
    assert asking_form(settings(**given, wording="1")) == PLAIN_FORM
    models.write_asking_form(str(folder), TRAINED)
    plain = asking_form(settings(**given, wording="1"))
    assert plain == TRAINED.model_copy(update={"wording": 1, "headed": False})


def test_a_form_that_says_no_more_is_written_as_ever(tmp_path: Path) -> None:
    models.write_asking_form(str(tmp_path), SHORT_FORM)
    assert (tmp_path / models.ASKING_FILE).read_text() == '{"wording":4,"headed":true}'


def asked(form: AskingForm, **given: object) -> dict[str, Assignment]:
    assignments, _ = assigned(settings(**given))
    return {one.task.name: one.in_form(form) for one in assignments}


def test_a_model_is_asked_about_what_it_was_trained_on_where_nobody_says_what_to_ask(
    tmp_path: Path,
) -> None:
    both = asked(TRAINED)
    assert [term.name for term in both["ner"].options.types] == ["disease", "gene"]
    assert [term.name for term in both["re"].options.relations] == ["gene_disease"]
    named = asked(TRAINED, types=["species"])
    assert [term.name for term in named["ner"].options.types] == ["species"]
    assert [term.name for term in named["re"].options.relations] == ["gene_disease"]
    file = tmp_path / "tasks.yaml"
    file.write_text("ner: {types: [variant]}\ntc: {labels: [a, b]}\n")
    of_file = asked(TRAINED, task_file=str(file))
    assert [term.name for term in of_file["ner"].options.types] == ["variant"]
    assert of_file["ner"].options.wording == of_file["tc"].options.wording == SHORT_FORM.wording
    # It is the same question, and has the same fingerprint, as when the user names the types.
    said = asked(TRAINED, types=["disease", "gene"], relations=["gene_disease"])
    assert [one.identity() for one in both.values()] == [one.identity() for one in said.values()]


def test_the_document_stands_where_it_stood_in_training() -> None:
    one_question = {"tasks": ["ner"], "types": ["disease"]}
    assert not asked(SHORT_FORM, **one_question)["ner"].document_first
    assert asked(TRAINED, **one_question)["ner"].document_first
    assert asked(SHORT_FORM)["ner"].document_first


def test_a_server_and_the_fake_engine_are_asked_in_the_form_that_the_user_names() -> None:
    for engine in ({"engine": "fake"}, {"engine": "http", "url": "http://nowhere/v1"}):
        assert asking_form(settings(**engine)) == PLAIN_FORM
        assert asking_form(settings(**engine, wording="short")) == SHORT_FORM
        # `plan` counts their tokens with the tokenizer of a model, whose form is not theirs.
        assert prepare(settings(**engine), kind=ENGINES["vllm"]).form == PLAIN_FORM


def test_a_wording_that_the_tasks_do_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--wording 21: the tasks have wordings 1 to 20$"):
        asking_form(settings(engine="fake", wording=21))


def test_a_merged_model_wants_what_its_adapter_wants(tmp_path: Path, cache: Path) -> None:
    base = make_model(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    models.write_asking_form(str(base), AskingForm(wording=3))
    merged = models.resolve(str(base), str(adapter))
    assert models.asking_form(str(merged.path)) == AskingForm(wording=3)
    models.write_asking_form(str(adapter), SHORT_FORM)
    merged = models.resolve(str(base), str(adapter))
    assert models.asking_form(str(merged.path)) == SHORT_FORM

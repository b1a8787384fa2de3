"""The fingerprint: it changes with what can change an answer, and with nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from taiyi_ray.config import AnnotateConfig
from taiyi_ray.fingerprint import differences, fingerprint, identity
from taiyi_ray.grounding import GRAMMAR
from taiyi_ray.tasks import assigned
from taiyi_ray.tasks.template import PLAIN_FORM, SHORT_FORM, AskingForm
from taiyi_ray.tasks.vocabulary import MENTION_TYPES


def made(model: str = "digest", **settings: Any) -> dict[str, Any]:
    """The identity of a run with these settings, put together as the job does it."""
    config = AnnotateConfig(
        **{"inputs": ["in"], "output": "out", "context_length": 4096} | settings
    )
    return identity(config, assigned(config)[0], model, config.columns)


def test_it_is_sixteen_digits_and_the_same_for_the_same():
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(made()))
    assert fingerprint(made()) == fingerprint(made())


@pytest.mark.parametrize(
    ("settings", "differs"),
    [
        ({"model": "other digest"}, "model"),
        ({"tasks": ["ner"]}, "re.version"),
        ({"tasks": ["ner"], "ask": "together"}, "document_first"),
        ({"types": ["disease"]}, "ner.types"),
        ({"types": ["disease", "chemical"]}, "ner.types"),
        ({"relations": ["treatment"]}, "re.relations"),
        ({"ask": "together"}, "ner.ask"),
        ({"scores": True}, "scores"),
        ({"grounding": "align"}, "grounding"),
        ({"chat": "taiyi1"}, "chat"),
        ({"max_tokens": 100}, "max_tokens"),
        ({"context_length": 1000}, "context_limit"),
        ({"columns": {"text": "abstract"}}, "columns"),
        ({"engine": "fake"}, "engine"),
        ({"engine_args": {"dtype": "float32"}}, "arguments"),
        ({"engine_args": {"quantization": "fp8"}}, "arguments"),
        ({"engine_args": {"hf_overrides": {"a": 1}}}, "arguments"),
    ],
)
def test_it_changes_with_what_can_change_an_answer(settings, differs):
    assert fingerprint(made(**settings)) != fingerprint(made())
    assert differs in [line.partition(":")[0] for line in differences(made(), made(**settings))]


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("ner: {types: [disease], ask: together}", "ner.types"),
        ("ner: {ask: together}", "ner.ask"),
        ("ner: {wording: 2}", "ner.templates"),
        ("re: {relations: [treatment]}", "re.relations"),
        ("tc: {labels: [A, B]}", "tc.labels"),
        ("qa: {questions: [Why]}", "qa.questions"),
    ],
)
def test_it_changes_with_the_content_of_the_task_file(tmp_path, text, differs):
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    tasks = ["ner", "re", *({text.partition(":")[0]} - {"ner", "re"})]
    usual, now = made(), made(task_file=str(path), tasks=tasks)
    assert differs in [line.partition(":")[0] for line in differences(usual, now)]
    moved = path.rename(tmp_path / "other.yaml")
    assert fingerprint(made(task_file=str(moved), tasks=tasks)) == fingerprint(now)


def test_flags_win_over_the_task_file(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text("ner: {types: [gene], ask: together}\nre: {}\n")
    now = made(task_file=str(path), types=["disease"], ask="apart")
    assert fingerprint(now) == fingerprint(made(types=["disease"]))


def test_the_form_of_a_model_is_in_it_only_where_it_is_not_the_plain_one():
    config = AnnotateConfig(inputs=["in"], output="out", context_length=4096)
    assignments = assigned(config)[0]

    def of(form: AskingForm) -> dict[str, Any]:
        return identity(config, [a.in_form(form) for a in assignments], "digest")

    assert of(PLAIN_FORM) == made()
    assert not any("headed" in name for name in made())
    changed = [line.partition(":")[0] for line in differences(made(), of(SHORT_FORM))]
    assert changed == ["ner.headed", "ner.templates", "re.headed", "re.templates"]
    assert differences(made(), of(SHORT_FORM), retry=True) == []
    assert [line.partition(":")[0] for line in differences(made(), of(AskingForm(wording=2)))] == [
        "ner.templates",
        "re.templates",
    ]


def test_a_wording_that_the_task_file_names_stays_whatever_the_model_wants(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text("ner: {wording: 2}\nre: {}\n")
    config = AnnotateConfig(inputs=["in"], output="out", task_file=str(path))
    ner, re_ = (a.in_form(SHORT_FORM) for a in assigned(config)[0])
    assert (ner.options.wording, ner.headed) == (2, False)
    assert (re_.options.wording, re_.headed) == (4, True)


@pytest.mark.parametrize(
    ("task", "change"),
    [(0, {"version": 99}), (1, {"version": 99}), (0, {"template": "re.v1"})],
)
def test_it_changes_with_a_tasks_version_and_template(monkeypatch, task, change):
    from taiyi_ray.tasks import TASKS

    usual = made()
    name, old = list(TASKS.items())[task]
    monkeypatch.setitem(TASKS, name, replace(old, **change))
    (line,) = differences(usual, made())
    assert line.startswith(f"{name}.{'templates' if 'template' in change else 'version'}: ")


@pytest.mark.parametrize(("constant", "name"), [("GRAMMAR", "grammar"), ("WINDOWS", "windows")])
@pytest.mark.parametrize("retry", [False, True])
def test_an_output_of_another_grammar_or_other_windows_is_told_apart(
    monkeypatch, constant, name, retry
):
    now = made()
    monkeypatch.setattr(f"taiyi_ray.fingerprint.{constant}", 99)
    assert differences(made(), now, retry=retry) == [f"{name}: 99 there, {now[name]} now"]
    older = {key: value for key, value in now.items() if key != name}
    (line,) = differences(older, now, retry=retry)
    assert line == f"{name}: nothing there, {now[name]} now"


def test_the_grammar_is_no_matter_where_answers_are_free(monkeypatch):
    free = fingerprint(made(grounding="align"))
    monkeypatch.setattr("taiyi_ray.fingerprint.GRAMMAR", 99)
    assert fingerprint(made(grounding="align")) == free


@pytest.mark.parametrize(
    "settings",
    [
        {"limit": 5},
        {"engines": 4},
        {"output": "elsewhere", "inputs": ["other"]},
        {"engine_args": {"max_num_seqs": 128, "gpu_memory_utilization": 0.5}},
        {"max_failed": 1, "stall_minutes": 1, "retry_failed": True, "trust_remote_code": True},
        {"types": [term.name for term in MENTION_TYPES]},
        {"types": [term.zh for term in MENTION_TYPES]},
    ],
)
def test_it_does_not_change_with_anything_else(settings):
    assert fingerprint(made(**settings)) == fingerprint(made())


@pytest.mark.parametrize(
    ("arguments", "same"),
    [({"latency": 1.0, "die_on": "x"}, True), ({"refuse": 0.5}, False), ({"cut": 0.5}, False)],
)
def test_arguments_of_the_fake_engine(arguments, same):
    usual = fingerprint(made(engine="fake"))
    assert (fingerprint(made(engine="fake", engine_args=arguments)) == usual) is same


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"url": "http://elsewhere/v1"}, True),
        ({"engine_args": {"retries": 3, "timeout": 5, "question_slots": 9}}, True),
        ({"engine_args": {"extra_body": {"seed": 1}}}, False),
    ],
)
def test_arguments_of_the_http_engine(settings, same):
    usual = {"engine": "http", "url": "http://host/v1"}
    assert (fingerprint(made(**usual | settings)) == fingerprint(made(**usual))) is same


def test_differences_name_the_setting_and_both_values():
    assert differences(made(), made()) == []
    assert differences(made(), made(max_tokens=100, grounding="align")) == [
        f"grammar: {GRAMMAR} there, nothing now",
        'grounding: "grammar" there, "align" now',
        "max_tokens: 512 there, 100 now",
    ]
    assert differences({"a": 1}, {"b": "x" * 100}) == [
        "a: 1 there, nothing now",
        f'b: nothing there, "{"x" * 76}... now',
    ]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"model": "other", "chat": "taiyi1", "max_tokens": 1000, "context_length": 8192}, []),
        ({"grounding": "align"}, ["grammar", "grounding"]),
        ({"engine": "fake"}, ["engine"]),
        ({"types": ["disease"], "max_tokens": 1000}, ["ner.types"]),
        ({"engine_args": {"dtype": "float32"}}, ["arguments"]),
    ],
)
def test_a_retry_may_change_the_model_and_its_limits_but_not_what_is_asked(settings, left):
    lines = differences(made(), made(**settings), retry=True)
    assert [line.partition(":")[0] for line in lines] == left


def test_a_retry_may_change_templates():
    old = {"ner.templates": {"en": "1"}, "ner.version": 1}
    new = {"ner.templates": {"en": "2"}, "ner.version": 2}
    assert differences(old, new, retry=True) == ["ner.version: 1 there, 2 now"]

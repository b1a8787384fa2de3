"""From settings to a prepared model: one way for the job, the service and the estimate."""

from __future__ import annotations

from typing import get_args

import pytest

from taiyi_ray import models
from taiyi_ray.config import CLIENTS, AnnotateConfig, EngineName, ServeConfig
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.prepare import prepare, settled_context
from taiyi_ray.engine.start import model_here, start, why_not_started
from taiyi_ray.errors import ConfigError, ModelError
from tests.models.tiny import make_model


def settings(**given: object) -> AnnotateConfig:
    return AnnotateConfig(inputs=["in"], output="out", **given)  # type: ignore[arg-type]


def test_the_table_holds_the_engines_that_the_settings_know():
    assert set(ENGINES) == set(get_args(EngineName))
    assert set(ENGINES) > CLIENTS


def test_the_fake_engine_needs_no_model_whatever_the_gpu_and_settles_its_context():
    prepared = prepare(settings(engine="fake", model="nowhere/to/be/found", gpu="T4"))
    answering = prepared.answering
    assert (answering.name, answering.identity, answering.digest) == ("fake", "fake", "fake")
    assert prepared.config.context_length == prepared.context_length == 4096
    assert prepared.config.model == "nowhere/to/be/found"
    assert prepared.tokenizer is answering.model is model_here(prepared.config, "fake") is None


def test_a_model_is_found_read_and_measured(tmp_path):
    folder = make_model(tmp_path / "model")
    prepared = prepare(settings(model=str(folder), grounding="align"))
    assert prepared.config.context_length == prepared.context_length == 64
    assert prepared.tokenizer is not None and prepared.tokenizer.encode("aspirin") == [1]
    assert prepared.answering.name == str(folder)
    here = model_here(prepared.config, prepared.answering.digest)
    assert here == prepared.answering.model
    with pytest.raises(ModelError, match="another model here"):
        model_here(prepared.config, "another digest")


def test_what_was_checked_before_is_not_loaded_again(tmp_path):
    folder = make_model(tmp_path / "model")
    (folder / "tokenizer.json").write_text("broken")
    config = settings(model=str(folder))
    assert prepare(config, known=True).tokenizer is None
    with pytest.raises(ModelError, match="no usable tokenizer"):
        prepare(config)


def test_a_model_that_cannot_be_loaded_on_the_gpus_is_refused(tmp_path, monkeypatch):
    folder = make_model(tmp_path / "model")
    monkeypatch.setattr(models, "weights_size", lambda _: 17_000_000_000)
    with pytest.raises(ConfigError, match="does not fit"):
        prepare(settings(model=str(folder), gpu="T4", grounding="align"))


def test_the_service_is_prepared_as_the_job_is(tmp_path):
    folder = str(make_model(tmp_path / "model"))
    served = prepare(ServeConfig(model=folder, grounding="align"))
    worked = prepare(settings(model=folder, grounding="align"))
    assert served.answering == worked.answering
    assert served.context_length == worked.context_length


def test_more_context_than_a_model_has_is_refused():
    assert settled_context("m", None, None) == 4096
    assert settled_context("m", None, 64) == 64
    assert settled_context("m", 300, None) == 300
    with pytest.raises(ConfigError, match="--context-length 300: m takes 64 tokens at most"):
        settled_context("m", 300, 64)


@pytest.mark.parametrize(
    ("engine", "arguments", "slots"),
    [
        ("fake", {}, 64),
        ("fake", {"question_slots": 7}, 7),
        ("vllm", {}, 128),
        ("vllm", {"max_num_seqs": 8}, 16),
        ("http", {}, 256),
        ("http", {"question_slots": 7}, 7),
    ],
)
def test_the_question_slots_of_an_engine_are_known_before_it_starts(engine, arguments, slots):
    url = {"url": "http://host/v1"} if engine == "http" else {}
    config = settings(engine=engine, engine_args=arguments, context_length=4096, **url)
    assert ENGINES[engine].question_slots(config) == slots
    if engine == "fake":
        assert start(config, None).question_slots == slots


def test_an_engine_says_why_it_did_not_start():
    assert why_not_started(ConfigError("--engine-arg: no")) == "--engine-arg: no"
    assert why_not_started(RuntimeError("broken"))

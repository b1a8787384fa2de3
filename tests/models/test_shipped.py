"""The models that come with the program: the base alone, and the base with the shipped adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taiyi_ray import models
from taiyi_ray.config import (
    DEFAULT_MODEL,
    DEMO_MODEL,
    EMBEDDED_MODEL,
    SHIPPED_MODELS,
    AnnotateConfig,
    ServeConfig,
    TrainConfig,
)
from taiyi_ray.errors import ModelError
from taiyi_ray.tasks.template import SHORT_FORM
from tests.models.tiny import make_adapter


def test_the_table_holds_the_models_that_the_settings_know() -> None:
    assert tuple(models.SHIPPED) == SHIPPED_MODELS
    assert DEFAULT_MODEL in SHIPPED_MODELS


def test_a_shipped_model_is_its_base_with_its_adapter_merged_once(
    cache: Path, tmp_path: Path, embedded: models.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    (cache / EMBEDDED_MODEL).symlink_to(embedded.path)
    adapter = make_adapter(tmp_path / "adapter", embedded.path)
    models.write_asking_form(str(adapter), SHORT_FORM)
    (adapter / "README.md").write_text("a model card")
    monkeypatch.setitem(models.SHIPPED, DEMO_MODEL, adapter)
    demo, base = models.resolve(DEMO_MODEL), models.resolve(EMBEDDED_MODEL)
    assert (demo.name, base.name) == (DEMO_MODEL, EMBEDDED_MODEL)
    assert base.path == cache / EMBEDDED_MODEL and base.digest == embedded.digest
    assert demo.digest == models.resolve(EMBEDDED_MODEL, str(adapter)).digest != base.digest
    assert models.asking_form(str(demo.path)) == SHORT_FORM
    (adapter / "README.md").write_text("another model card")
    assert models.resolve(DEMO_MODEL) == demo
    assert len(list((cache / "merged").iterdir())) == 1


def test_an_installation_without_the_adapter_says_so(
    cache: Path, tmp_path: Path, embedded: models.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    (cache / EMBEDDED_MODEL).symlink_to(embedded.path)
    monkeypatch.setitem(models.SHIPPED, DEMO_MODEL, tmp_path / "nowhere")
    with pytest.raises(ModelError, match=f"^model {DEMO_MODEL}: its adapter is not in this instal"):
        models.find(DEMO_MODEL)


def test_an_adapter_and_a_training_begin_with_the_base_whatever_is_the_default() -> None:
    given = {"inputs": ["in"], "output": "out"}
    assert AnnotateConfig(**given).model == DEFAULT_MODEL
    assert AnnotateConfig(**given, adapter="lora").model == EMBEDDED_MODEL
    assert AnnotateConfig(**given, adapter="lora", model="another").model == "another"
    assert ServeConfig(adapters={"ner": "lora"}).model == EMBEDDED_MODEL
    assert ServeConfig().model == DEFAULT_MODEL
    assert TrainConfig(data="data", output="out").model == EMBEDDED_MODEL


ADAPTER = models.SHIPPED[DEMO_MODEL]
assert ADAPTER is not None


def test_the_shipped_adapter_is_small_and_whole_and_says_what_it_is() -> None:
    assert ADAPTER is not None
    names = {path.name for path in ADAPTER.iterdir()}
    expected = {"adapter_config.json", "adapter_model.safetensors", "README.md", "training.json"}
    assert names == expected | {models.ASKING_FILE, models.TRAINED_FILE}
    assert sum(path.stat().st_size for path in ADAPTER.iterdir()) < 42 << 20
    described = json.loads((ADAPTER / "adapter_config.json").read_text("utf-8"))
    assert described["base_model_name_or_path"] == EMBEDDED_MODEL
    form = models.asking_form(str(ADAPTER))
    assert form is not None and form.headed and form.document_first
    assert form.tasks["ner"]["types"] and form.tasks["re"]["relations"]
    training = json.loads((ADAPTER / "training.json").read_text("utf-8"))
    assert {"settings", "data", "points", "versions", "model"} <= training.keys()
    known = models.trained_on(str(ADAPTER))
    assert known is not None and {"bc5cdr/train", "bc5cdr/dev"} <= set(known.splits)
    assert not any(split.endswith("/test") for split in known.splits)
    assert "not medical advice" in (ADAPTER / "README.md").read_text("utf-8")

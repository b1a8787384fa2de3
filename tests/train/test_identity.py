"""What an output is known by: it is put late, and compared with what it was begun with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.models import Model
from taiyi_ray.train import identity


def of(**settings: Any) -> dict[str, Any]:
    """The identity of a run with these settings on the same model and data."""
    config = TrainConfig(data="d", output="o", **settings)
    return identity.identity(config, Model("m", Path("m"), "digest"), None, [])


def begun(output: Path, values: dict[str, Any]) -> None:
    output.mkdir(exist_ok=True)
    (output / "train.json").write_text(json.dumps(values))


def test_what_changes_only_speed_or_the_place_is_not_in_it() -> None:
    more = {"workers": 3, "gpu": "L4", "price": 2, "stall_minutes": 5, "keep": 9, "eval_every": 3}
    assert of(**more, checkpoint_every=7, prefix_sharing=False, preset="default") == of()
    assert of(batch=3) != of() != of(preset="paper")


def test_an_output_that_was_begun_without_a_setting_goes_on_with_its_default(
    tmp_path: Path,
) -> None:
    older = of()
    for added in ("precision", "max_steps", "chat"):  # as if they had been added since
        del older["settings"][added]
    begun(tmp_path, older)
    identity.check_same(str(tmp_path), of())
    identity.put(str(tmp_path), of())
    assert json.loads((tmp_path / "train.json").read_text()) == older, "it stays as it was put"
    with pytest.raises(ConfigError, match=r'settings.precision was "auto" and is "float32"'):
        identity.check_same(str(tmp_path), of(precision="float32"))


def test_a_default_that_changed_since_is_refused(tmp_path: Path) -> None:
    older = of()
    older["settings"]["precision"] = "float32"
    begun(tmp_path, older)
    with pytest.raises(ConfigError, match=r'settings.precision was "float32" and is "auto"'):
        identity.check_same(str(tmp_path), of())


@pytest.mark.parametrize(
    ("capability", "more", "chosen"),
    [
        ("AVX512", {}, "bf16"),
        ("AVX2", {}, "float32"),
        ("AVX2", {"precision": "bf16"}, "bf16"),
        ("AVX2", {"workers": 2, "gpu": "L4"}, "bf16"),
        ("AVX2", {"workers": 2}, "float32"),
    ],
)
def test_the_precision_is_what_the_machine_is_fast_at_and_stays_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: str, more: Any, chosen: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    config = TrainConfig(data="d", output="o", **more)
    assert identity.with_precision(config, str(tmp_path)).precision == chosen
    other = {"bf16": "float32", "float32": "bf16"}[chosen]
    begun(tmp_path, of(precision=other))
    expected = config.precision if config.precision != "auto" else other
    assert identity.with_precision(config, str(tmp_path)).precision == expected


def test_of_two_runs_that_begin_at_once_one_is_refused(tmp_path: Path) -> None:
    identity.check_same(str(tmp_path), of())
    identity.check_same(str(tmp_path), of(batch=3))
    identity.put(str(tmp_path), of(batch=3))
    identity.put(str(tmp_path), of(batch=3))
    with pytest.raises(ConfigError, match=r"settings\.batch was 3 and is 64"):
        identity.put(str(tmp_path), of())

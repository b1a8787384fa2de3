"""What a run takes, before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray import models
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.placement import GPUS, Assumed
from taiyi_ray.train import estimate, memory, run
from taiyi_ray.train.planning import planned
from taiyi_ray.train.stages import TrainingPlan
from tests.train.small import make_instructions, make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and instructions."""
    made = tmp_path_factory.mktemp("estimate")
    make_model(made / "model")
    make_instructions(made / "data")
    return made


def config(folder: Path, **more: Any) -> TrainConfig:
    values = {
        "data": str(folder / "data"), "output": str(folder / "nothing"),
        "model": str(folder / "model"), "batch": 9, "row_tokens": 256, "precision": "float32",
        "stage_data": [{"data": ["stage1"], "epochs": 2}, {"data": ["stage2"], "epochs": 1}],
    }  # fmt: skip
    return TrainConfig(**values | more)


def made(settings: TrainConfig, tokens: Path) -> tuple[TrainingPlan, models.Model]:
    model = models.resolve(settings.model)
    return planned(settings, str(tokens), model, None, models.load_tokenizer(model)), model


def lines(settings: TrainConfig, tokens: Path) -> dict[str, str]:
    plan, model = made(settings, tokens)
    told = estimate.lines(plan, model, memory.estimate(model, settings))
    return dict(line.split(": ", 1) for line in told)


def test_the_tokens_are_those_that_the_run_then_computes(folder: Path, tmp_path: Path) -> None:
    settings = config(folder, output=str(tmp_path / "out"))
    plan, _ = made(settings, tmp_path / "tokens")
    assert run(settings) == 0
    totals = json.loads((tmp_path / "out/run.json").read_text())["totals"]
    found = estimate.work(plan)
    assert found.room == totals["room"]
    assert (found.tokens, found.computed) == (totals["tokens"], totals["computed"])
    assert found.packed == plan.steps == 12


def test_a_sample_of_steps_stands_for_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = made(config(folder), tmp_path)
    all_steps = estimate.work(plan)
    monkeypatch.setattr(estimate, "_SAMPLE", 3)
    some = estimate.work(plan)
    assert some.packed == 6
    assert some.computed == pytest.approx(all_steps.computed, rel=0.1)


def test_hours_and_cost_follow_from_the_data_sheet_and_the_assumption(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Assumed(*(share * 1e-12 for share in (0.35, 0.18, 0.5)))
    monkeypatch.setattr(estimate, "MFU", slow)
    settings = config(folder, gpu="H100", price=0.5, workers=2)
    told = lines(settings, tmp_path)
    weights = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64)
    plan, _ = made(settings, tmp_path)
    operations = estimate.work(plan).computed * 4 * weights
    hours = operations / (2 * GPUS["H100"].flops * slow.value) / 3600
    assert hours > 10
    assert told["hours"].startswith(f"{hours:,.0f} (")
    assert told["cost"].startswith(f"{hours:,.2f} (")
    monkeypatch.undo()
    told = lines(settings, tmp_path)
    assert told["hours"].startswith("under 0.1 (")
    assert "on 2 H100; ASSUMED, not measured: 35% (18% to 50%)" in told["hours"]


def test_all_weights_take_half_as_much_again_and_recomputing_a_half_of_lora(
    folder: Path,
) -> None:
    lora, full = config(folder), config(folder, method="full")
    again = config(folder, activation_checkpointing=True)
    operations = [estimate.flops_of_a_token(one, 10) for one in (lora, full, again)]
    assert operations == [40, 60, 60]


def test_what_is_not_known_is_said(folder: Path, tmp_path: Path) -> None:
    assert "not estimated; give --gpu (T4, " in lines(config(folder), tmp_path)["hours"]
    told = lines(config(folder, gpu="H10"), tmp_path)
    assert "H10 is unknown; did you mean 'H100'?; give --gpu" in told["hours"]
    assert "not estimated; give --price" in lines(config(folder, gpu="L4"), tmp_path)["cost"]


def test_a_dry_run_is_refused_where_the_run_would_be(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(folder, output=str(tmp_path / "out"), stages="1", max_steps=1)
    assert run(settings) == 0
    with pytest.raises(ConfigError, match=r"settings\.batch was 9 and is 3"):
        run(settings.model_copy(update={"batch": 3}), dry_run=True)
    assert "tokens: about" in capsys.readouterr().err

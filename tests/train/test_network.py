"""The model that is trained: a base of 4 bits, and what becomes of its adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from taiyi_ray import models
from taiyi_ray.config import TrainConfig
from taiyi_ray.train import run
from tests.train.small import make_instructions, make_model
from tests.train.test_sharding import run_to_a_kill


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, instructions, and the output of a run on a base of 4 bits."""
    made = tmp_path_factory.mktemp("qlora")
    make_model(made / "model")
    make_instructions(made / "data")
    assert run(config(made, "out")) == 0
    return made


def config(folder: Path, output: str, **more: Any) -> TrainConfig:
    values = {
        "data": str(folder / "data"),
        "model": str(folder / "model"),
        "output": str(folder / output),
        "method": "qlora",
        "rank": 4,
        "batch": 9,
        "row_tokens": 128,
        "learning_rate": 5e-3,
        "max_steps": 8,
        "stages": "1",
        "checkpoint_every": 2,
        "eval_every": 4,
    }
    return TrainConfig(**values | more)


def points(output: Path) -> list[dict[str, Any]]:
    return json.loads((output / "run.json").read_text())["points"]


def test_an_adapter_on_a_base_of_4_bits_learns_also_after_a_look_at_dev(folder: Path) -> None:
    curve = points(folder / "out")
    losses = [point["loss"] for point in curve]
    assert losses[3] < losses[0] - 0.5 and losses[7] < losses[3] - 0.5
    assert all(point["norm"] > 0 for point in curve)
    dev = [point["dev"]["all"]["loss"] for point in curve if "dev" in point]
    assert dev[1] < dev[0]


def test_it_fits_the_base_of_16_bits_in_peft_and_in_a_merged_model(folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = folder / "out" / "adapter"
    base = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.bfloat16)
    ids = torch.arange(4, 24)[None]
    plain = base(input_ids=ids).logits
    adapted = PeftModel.from_pretrained(base, adapter)(input_ids=ids).logits
    merged_folder = models.resolve(str(folder / "model"), str(adapter)).path
    merged = AutoModelForCausalLM.from_pretrained(merged_folder)
    assert merged.dtype == torch.bfloat16 and not hasattr(merged.config, "quantization_config")
    found = merged(input_ids=ids).logits
    assert (found - adapted).abs().max() < (plain - adapted).abs().max() / 4
    torch.testing.assert_close(found, adapted, rtol=0.05, atol=0.3)


def test_a_killed_run_on_a_base_of_4_bits_ends_with_the_same_adapter(folder: Path) -> None:
    broken = config(folder, "broken")
    run_to_a_kill(broken, 5)
    assert run(broken) == 0
    wanted = load_file(folder / "out/adapter/adapter_model.safetensors")
    for key, tensor in load_file(folder / "broken/adapter/adapter_model.safetensors").items():
        torch.testing.assert_close(wanted[key], tensor, rtol=1e-5, atol=1e-6)


def test_a_base_of_4_bits_is_not_divided_among_workers() -> None:
    with pytest.raises(ValueError, match="fsdp: weights of 4 bits are not divided; give method"):
        TrainConfig(data="d", output="o", method="qlora", fsdp=True, workers=2)

"""The memory that training takes, before it takes it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from taiyi_ray import models
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.placement import fast_bfloat16
from taiyi_ray.train import memory
from tests.train.small import make_instructions


def config(**more: object) -> TrainConfig:
    return TrainConfig(**({"data": "d", "output": "o", "precision": "bf16"} | more))


def test_the_embedded_model_takes_what_its_numbers_say(embedded: models.Model) -> None:
    full = memory.estimate(embedded, config(method="full"))
    assert full.trained / 16 == pytest.approx(134.5e6, rel=0.01)
    lora = memory.estimate(embedded, config(method="lora", rank=26))
    assert lora.weights == pytest.approx(2 * 134.5e6, rel=0.01)
    assert lora.trained / 16 * 2 == pytest.approx(16e6, rel=0.02), "bytes of an adapter in bf16"
    less = memory.estimate(embedded, config(method="lora", activation_checkpointing=True))
    assert less.activations < lora.activations / 5
    assert memory.estimate(embedded, config(preset="paper")).weights < lora.weights
    part = memory.estimate(embedded, config(method="full", fsdp=True, workers=8))
    assert part.trained == full.trained / 8 and part.weights < full.weights


def test_too_little_memory_is_one_line_that_says_what_helps() -> None:
    needed = memory.Memory(60e9, 10e9, 10e9, 1e9)
    memory.check(needed, config(gpu="H200"))
    memory.check(needed, config(gpu="of another kind"))
    with pytest.raises(
        ConfigError, match=r"takes about 81\.0 GB .* there are 80\.0 GB; give fewer"
    ):
        memory.check(needed, config(gpu="H100"))
    with pytest.raises(ConfigError, match="--activation-checkpointing"):
        memory.check(memory.Memory(1e15, 0, 0, 0), config())


def test_workers_on_this_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    half = memory.Memory(psutil.virtual_memory().available / 2, 0, 0, 0)
    memory.check(half, config(workers=1))
    with pytest.raises(ConfigError, match="GB a worker"):
        memory.check(half, config(workers=5))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    memory.check(half, config(workers=5))


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.alone
def test_the_estimate_is_near_what_a_process_grows_by(
    embedded: models.Model, tmp_path: Path, checkpointing: bool
) -> None:
    make_instructions(tmp_path / "data", length=600)
    settings = config(
        data=str(tmp_path / "data"), output=str(tmp_path / "out"), max_steps=1, stages="1", batch=4,
        activation_checkpointing=checkpointing,
        precision="bf16" if fast_bfloat16() else "float32",
    )  # fmt: skip
    measured = subprocess.run(
        [sys.executable, "-c", _GROWTH, settings.model_dump_json(exclude_unset=True)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    grown = int(measured.stdout.splitlines()[-1])
    told = memory.estimate(embedded, settings).bytes
    assert 0.5 < told / grown < 2, f"{told / 1e9:.1f} GB are told, {grown / 1e9:.1f} GB are taken"


_GROWTH = """
import resource, sys
import peft, torch, transformers
from taiyi_ray.config import TrainConfig
from taiyi_ray.train import run

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

before = most()
run(TrainConfig.model_validate_json(sys.argv[1]))
print(most() - before)
"""

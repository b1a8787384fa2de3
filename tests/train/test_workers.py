"""The same stages on the workers of Ray Train."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ModelError, Unfinished
from taiyi_ray.train import run, workers
from tests.train.small import make_instructions, make_model

# Ray Train copies Ray Data's settings, old ones too, each of which warns.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated")


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "data": str(folder / "data"),
        "model": str(folder / "model"),
        "precision": "float32",
        "rank": 4,
        "batch": 9,
        "row_tokens": 128,
        "learning_rate": 5e-3,
        "checkpoint_every": 2,
        "max_steps": 3,
    } | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model(tmp_path / "model")
    make_instructions(tmp_path / "data")
    return tmp_path


def test_two_workers_learn_what_one_process_learns(folder: Path, joined: None) -> None:
    curves, weights = [], []
    for number in (0, 2):
        output = folder / f"out{number}"
        assert run(TrainConfig(**settings(folder, output=str(output), workers=number))) == 0
        told = json.loads((output / "run.json").read_text())
        assert told["state"] == "done"
        curves.append([point["loss"] for point in told["points"]])
        weights.append(load_file(output / "adapter" / "adapter_model.safetensors"))
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, rtol=1e-4, atol=1e-5)


def test_what_ends_the_workers_is_an_interrupt_or_one_line_here() -> None:
    from ray.exceptions import RayActorError
    from ray.train import WorkerGroupError

    cases: list[tuple[BaseException, type[BaseException], str | None]] = [
        (SystemExit(0), KeyboardInterrupt, None),
        (RayActorError(), Unfinished, "the cluster is gone .*; the same command goes on"),
        (WorkerGroupError("", {0: ModelError("nan")}), ModelError, "nan"),
        (WorkerGroupError("", {1: OSError("disk")}), Unfinished, r"failed 4 times \(disk\)"),
    ]
    for raised, wanted, message in cases:

        def fit(raised: BaseException = raised) -> None:
            raise raised

        with pytest.raises(wanted, match=message):
            workers._finished(fit)


def kill_a_worker(after: Path) -> None:
    """Kill one worker of Ray Train when this file is there."""
    while not after.exists():
        time.sleep(0.02)
    there = [p for p in psutil.process_iter(["cmdline"]) if "RayTrainWorker" in str(p.info)]
    there[0].kill()


@pytest.mark.slow
def test_a_run_goes_on_after_a_worker_was_killed(folder: Path, joined: None) -> None:
    wanted, output = folder / "undisturbed", folder / "out"
    more = {"max_steps": 40, "keep": 50, "stage_data": [{"data": ["stage1"], "epochs": 9}]}
    assert run(TrainConfig(**settings(folder, output=str(wanted), **more))) == 0
    killer = Thread(target=kill_a_worker, args=[output / "checkpoints/000000002.json"])
    killer.start()
    assert run(TrainConfig(**settings(folder, output=str(output), workers=2, **more))) == 0
    killer.join()
    found = load_file(output / "adapter" / "adapter_model.safetensors")
    for key, tensor in load_file(wanted / "adapter" / "adapter_model.safetensors").items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-5)
    points = json.loads((output / "run.json").read_text())["points"]
    assert [point["step"] for point in points] == list(range(1, 37))


@pytest.mark.slow
def test_what_is_wrong_in_a_worker_is_one_line_here(folder: Path, joined: None) -> None:
    config = TrainConfig(
        **settings(folder, output=str(folder / "out"), workers=2, targets=["qproj"])
    )
    with pytest.raises(ModelError, match="no linear layer 'qproj'; did you mean 'q_proj'"):
        run(config)

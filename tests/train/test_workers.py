"""The same stages on the workers of Ray Train."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any, cast

import psutil
import pytest
import torch
from safetensors.torch import load_file

from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ModelError, StorageGone, Unfinished
from taiyi_ray.placement import Resources
from taiyi_ray.train import progress, run, stages, workers
from taiyi_ray.train.status import TrainingLook
from tests.models import tiny
from tests.models.tiny import make_adapter
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


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_some_workers_learn_what_one_process_learns_and_show_each_step(
    folder: Path,
    joined: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    monkeypatch.setattr(progress, "BEAT", 0)  # a line as soon as there is news
    curves, weights = [], []
    for number in (0, workers):
        output = folder / f"out{number}"
        assert run(TrainConfig(**settings(folder, output=str(output), workers=number))) == 0
        told = json.loads((output / "run.json").read_text())
        assert told["state"] == "done"
        curves.append([point["loss"] for point in told["points"]])
        weights.append(load_file(output / "adapter" / "adapter_model.safetensors"))
    told = capsys.readouterr().err
    of_workers = told[told.index("starting Ray ...") :].splitlines()
    # There is a look a second: "loading ... on 2 workers" may take less.
    assert of_workers[:2] == ["starting Ray ...", "starting the workers ..."]
    assert "done: " in of_workers[-1]
    assert re.search(r"^step 6 of 6, stage 2, loss \d.\d+, [\d,]+ tokens/s", told, re.MULTILINE)
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, rtol=1e-4, atol=1e-5)


def test_what_ends_the_workers_is_an_interrupt_one_line_or_tried_again() -> None:
    from ray.exceptions import RayActorError
    from ray.train import ControllerError, PreemptionError, WorkerGroupError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
    from ray.train.v2.api.preemption import PreemptionInfo

    failures = {1: OSError("disk"), 0: RuntimeError("the other is gone"), 2: OSError("disk")}
    cases: list[tuple[BaseException, type[BaseException], str | None]] = [
        (SystemExit(0), KeyboardInterrupt, None),
        (RayActorError(), Unfinished, "the cluster is gone .*; the same command goes on"),
        (WorkerGroupError("", {0: RuntimeError(), 1: ModelError("nan")}), ModelError, "nan"),
        (WorkerGroupError("", {0: StorageGone("no answer")}), StorageGone, "no answer"),
        (WorkerGroupError("", failures), workers._Failed, r"^disk; the other is gone$"),
        (PreemptionError(PreemptionInfo(0, {})), workers._Displaced, "a machine was taken away"),
        (
            ControllerError(WorkerGroupStartupTimeoutError(2)),
            workers._Displaced,
            "others took the places",
        ),
    ]
    for raised, wanted, message in cases:

        def fit(raised: BaseException = raised) -> None:
            raise raised

        with pytest.raises(wanted, match=message):
            workers._finished(fit)


class Failing:
    """Stands for workers that fail at these steps, one after the other; 0: they are displaced."""

    def __init__(self, *steps: int | None) -> None:
        self.left, self.failing = list(steps), None
        self.tries = 0

    def train(self) -> None:
        self.tries += 1
        if self.left:
            self.failing = self.left.pop(0)
            raise workers._Displaced("gone") if self.failing == 0 else workers._Failed("a reason")


class Said:
    """Takes what is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_workers_that_fail_are_started_again_until_the_same_step_failed_three_times() -> None:
    lucky, said = Failing(None, 3, 9, 9, 4, None, 7, 0, 0, 0), Said()
    workers._tried(cast(Any, lucky), cast(Any, said))
    assert lucky.tries == 11
    assert said.lines[:2] == [
        "the start of the workers failed (a reason); trying again ...",
        "step 3 failed (a reason); trying again ...",
    ]
    for steps, kind, code, message in (
        ((9, 3, 9, 9), ModelError, 2, r"^step 9 failed 3 times \(a reason\); when the reason"),
        ((None, 3, None, None, None), Unfinished, 4, r"could not be started 3 times \(a reason\)"),
    ):
        failing = Failing(*steps)
        with pytest.raises(kind, match=message) as ended:
            workers._tried(cast(Any, failing), cast(Any, said))
        assert (failing.tries, ended.value.exit_code) == (len(steps), code)


def test_workers_take_gpus_where_they_are_named_or_the_installed_torch_is_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TrainConfig(data="d", output="o", workers=3)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert workers.workers_of(config).each == Resources(1, 0)
    named = workers.workers_of(config.model_copy(update={"gpu": "L4"}))
    assert (named.most, named.each) == (3, Resources(1, 1, "L4"))
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    assert workers.workers_of(config).each == Resources(1, 1)


def kill_a_process(name: str, after: Path) -> None:
    """Kill one process of Ray Train when this file is there."""
    while not after.exists():
        time.sleep(0.02)
    there = [p for p in psutil.process_iter(["cmdline"]) if name in str(p.info)]
    there[0].kill()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RayTrainWorker", "TrainController"])
def test_a_run_goes_on_after_a_process_of_it_was_killed(
    folder: Path, joined: None, name: str
) -> None:
    wanted, output = folder / "undisturbed", folder / "out"
    more = {"max_steps": 40, "keep": 50, "stage_data": [{"data": ["stage1"], "epochs": 9}]}
    assert run(TrainConfig(**settings(folder, output=str(wanted), **more))) == 0
    killer = Thread(target=kill_a_process, args=[name, output / "checkpoints/000000002.json"])
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
    adapter = make_adapter(folder / "adapter", tiny.make_model(folder / "tiny", width=64))
    config = TrainConfig(
        **settings(folder, output=str(folder / "out"), workers=2, adapter=str(adapter))
    )
    with pytest.raises(ModelError, match=r"adapter .* does not fit the model"):
        run(config)
    assert not (folder / "out/train.json").exists(), "nothing binds the output"


@pytest.mark.slow
def test_a_run_that_finds_no_place_says_what_it_waits_for_and_ends_unfinished(
    folder: Path,
    joined: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 1.0)
    output = str(folder / "out")
    config = TrainConfig(**settings(folder, output=output, workers=3, gpu="L4", stall_minutes=0.2))
    missing = (
        "a worker of training takes 1 CPU and 1 L4 GPU; 0 of 1 nodes are large enough for one, and "
        "of the cluster's 8 CPUs and 0 GPUs 8 and 0 are free"
    )
    with pytest.raises(Unfinished, match=f"no step was made for 0.2 minutes; {missing}") as ended:
        run(config)
    assert ended.value.exit_code == 4
    assert f"waiting for 3 workers: {missing}; an autoscaling" in capsys.readouterr().err
    found = TrainingLook(output).status()
    assert found.state == "unfinished" and missing in str(found.reason)
    assert not Path(output, "train.json").exists(), "nothing binds the output"


def _spoiled(told: dict[str, Any]) -> None:
    """A worker that fails at step 3 of the run, whenever it comes there."""
    real = stages._step

    def step(*arguments: Any) -> Any:
        if arguments[4].step == 3 and os.environ["RANK"] == "1":
            if "killed" in told["plan"].output:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("a bug")
        return real(*arguments)

    stages._step = step
    workers._work(told)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "raised"])
def test_a_step_that_fails_three_times_ends_the_run_with_step_and_reason(
    folder: Path,
    joined: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: str,
) -> None:
    monkeypatch.setattr(workers, "_work", _spoiled)
    output = str(folder / how)
    config = TrainConfig(**settings(folder, output=output, workers=2, stages="1", max_steps=5))
    with pytest.raises(ModelError, match=r"^step 3 failed 3 times \(.*\); when") as ended:
        run(config)
    assert ended.value.exit_code == 2
    assert ("a bug" in str(ended.value)) == (how == "raised")
    assert capsys.readouterr().err.count("step 3 failed (") == 2
    assert "step 3 failed 3 times" in str(TrainingLook(output).status().reason)
    monkeypatch.undo()
    assert run(config.model_copy(update={"workers": "0"})) == 0, "it goes on when that is gone"


@pytest.mark.slow
def test_workers_that_divide_the_model_among_them_learn_what_one_process_learns(
    folder: Path, joined: None
) -> None:
    found = []
    for number in (2, 0):
        more = {"method": "full", "fsdp": True, "activation_checkpointing": True, "max_steps": 3}
        output = folder / f"divided{number}"
        config = TrainConfig(**settings(folder, output=str(output), workers=number, **more))
        assert run(config) == 0
        points = json.loads((output / "run.json").read_text())["points"]
        found.append([point["loss"] for point in points])
        assert (output / "model" / "model.safetensors").exists()
    assert found[0] == pytest.approx(found[1], rel=1e-5)

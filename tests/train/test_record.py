"""What a run writes of itself: what it stands on, how far it is, why it ended."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taiyi_ray import models, states, storage, versions
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ModelError
from taiyi_ray.train import record as record_module
from taiyi_ray.train import run, stages
from taiyi_ray.train.checkpoints import Position
from taiyi_ray.train.progress import Told
from taiyi_ray.train.record import TrainingRecord
from taiyi_ray.train.stages import History, StagePlan, TrainingPlan
from taiyi_ray.train.status import TrainingLook
from taiyi_ray.train.step import StepResult
from tests.train.small import make_instructions, make_model


@pytest.fixture
def plan(tmp_path: Path) -> TrainingPlan:
    config = TrainConfig(data="d", output=str(tmp_path))
    stage = StagePlan(0, (), 1, 8, 8, 80, {})
    origin = {"model": {}, "data": {}, "revision": None, "versions": {}}
    return TrainingPlan(config, str(tmp_path), "digest", (stage,), (), {"model": "digest"}, origin)


def history(plan: TrainingPlan, steps: int) -> History:
    point = {
        "stage": 0, "rate": 1.0, "norm": 1.0, "loss": 2.0, "by_task": {}, "by_dataset": {},
        "records": 1, "tokens": 10, "computed": 10, "room": 10, "targets": 2, "seconds": 0.5,
    }  # fmt: skip
    points = [point | {"step": n, "stage_step": n} for n in range(1, steps + 1)]
    return History(plan, {}, points)


def there(plan: TrainingPlan) -> dict[str, Any]:
    return json.loads(Path(plan.output, "run.json").read_text())


def test_a_run_says_which_revision_data_and_model_it_stands_on_and_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "model")
    data = make_instructions(tmp_path / "data", documents=2)
    (data / "_manifest.json").write_text('{"seed": 0}')
    config = TrainConfig(
        data=str(data), output=str(tmp_path / "out"), model=str(tmp_path / "model"),
        row_tokens=256, stages="1", max_steps=2, precision="float32",
    )  # fmt: skip
    assert run(config) == 0
    told = json.loads((tmp_path / "out/run.json").read_text())
    manifest = hashlib.sha256(b'{"seed": 0}').hexdigest()
    assert told["data"] == {"address": str(data), "manifest": manifest}
    assert told["model"]["digest"] == models.resolve(config.model).digest
    assert told["revision"] == versions.revision() and told["versions"]["torch"]
    assert manifest in (tmp_path / "out/report.html").read_text()
    found = TrainingLook(config.output).status()
    assert (found.state, found.step, found.steps) == ("complete", 2, 2)


def test_the_reason_of_an_early_end_stands_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "model")
    config = TrainConfig(
        data=str(make_instructions(tmp_path / "data", documents=2)), output=str(tmp_path / "out"),
        model=str(tmp_path / "model"), row_tokens=256, stages="1", precision="float32",
    )  # fmt: skip

    def spoiled(*_: Any, **__: Any) -> Any:
        raise ModelError("step 1: the loss is nan")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "_step", spoiled)
        with pytest.raises(ModelError):
            run(config)
    found = TrainingLook(config.output).status()
    assert (found.state, found.step, found.reason) == ("unfinished", 0, "step 1: the loss is nan")
    assert run(config) == 0
    assert TrainingLook(config.output).status().reason is None


def test_a_run_beats_while_a_step_takes_long(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "BEAT", 0.01)
    record = TrainingRecord(plan)
    with record.kept_fresh():
        assert not Path(plan.output, "run.json").exists(), "it did not begin yet"
        record.reporter().begun(Position(3, 0, 3), history(plan, 3))
        first = there(plan)
        while there(plan)["updated"] == first["updated"]:
            time.sleep(0.01)
    assert (first["step"], len(there(plan)["points"])) == (3, 3)


def test_a_run_says_what_it_waits_for_until_it_begins(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "BEAT", 0.01)
    record = TrainingRecord(plan)
    with record.kept_fresh("loading the model ..."):
        while not Path(plan.output, "run.json").exists():
            time.sleep(0.01)
        assert TrainingLook(plan.output).status().waiting == "loading the model ..."
        record.reporter().begun(Position(), history(plan, 0))
        while "waiting" in there(plan):
            time.sleep(0.01)
    assert there(plan)["state"] == "running"


def test_each_step_is_told_with_loss_rate_and_the_time_left_at_the_rate_of_this_process(
    plan: TrainingPlan,
) -> None:
    told: list[Told] = []
    reporter = TrainingRecord(plan, told.append).reporter()
    reporter.begun(Position(4, 0, 4), history(plan, 4))
    reporter.point(Position(5, 0, 5), history(plan, 5))
    assert [one.step for one in told] == [4, 5]
    assert re.fullmatch(r"stage 1, loss 2\.000, 20 tokens/s, \d+ s left", told[1].text)


def test_the_steps_since_the_last_point_are_told_and_recorded_too(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_POINTS", 1)  # the first point is that of the last step
    curves = History(plan, {("ner", "a"): 0}, [])
    told: list[Told] = []
    record = TrainingRecord(plan, told.append)
    record.reporter().begun(Position(), curves)
    one = np.ones(1)
    counts = {"records": 1, "tokens": 10, "computed": 10, "room": 10, "seconds": 0.5}
    curves.add(Position(1, 0, 1), StepResult(3.0, 3 * one, one), 1.0, counts)
    record.reporter().point(Position(1, 0, 1), curves)
    assert told[-1].text.startswith("stage 1, loss 3.000, 20 tokens/s")
    record.ended("anything")
    found = TrainingLook(plan.output).status()
    assert (found.loss, found.stage, found.tokens) == (3.0, 1, 10)
    assert not list(Path(plan.output, "tensorboard").glob("*")), "points alone never change"


def test_who_waits_for_workers_does_not_overwrite_what_a_worker_wrote_meanwhile(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, worker = TrainingRecord(plan), TrainingRecord(plan)
    waiting.waiting("waiting for 2 workers")
    assert there(plan)["waiting"] == "waiting for 2 workers"
    read = record_module.read

    def slow(output: str) -> Any:
        before = read(output)
        worker.reporter().begun(Position(1, 0, 1), history(plan, 1))
        return before

    monkeypatch.setattr(record_module, "read", slow)
    waiting.waiting("waiting for 2 workers")
    assert "waiting" not in there(plan) and there(plan)["step"] == 1
    monkeypatch.undo()
    waiting.ended("the cluster is gone")
    assert (there(plan)["step"], there(plan)["reason"]) == (1, "the cluster is gone")


def test_a_store_that_is_gone_does_not_end_a_run_that_only_wants_to_say_how_far_it_is(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = TrainingRecord(plan)

    def gone(*_: Any, **__: Any) -> bool:
        raise storage.StorageGone("no answer")

    monkeypatch.setattr(storage, "replace", gone)
    record.reporter().begun(Position(), history(plan, 0))
    record.ended("anything")
    monkeypatch.undo()
    record.ended("anything")
    assert there(plan)["reason"] == "anything"


def test_the_revision_is_that_of_the_checkout_that_the_program_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", tmp_path, *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("init", "-q")
    program = tmp_path / "versions.py"
    program.write_text("1")
    monkeypatch.setattr(versions, "__file__", str(program))
    assert versions.revision() is None, "it lies in a checkout of something else"
    git("add", ".")
    git("commit", "-qm", "first")
    assert versions.revision() == git("rev-parse", "HEAD")
    program.write_text("2")
    assert versions.revision() == git("rev-parse", "HEAD") + "+changed"

"""One training run: what is checked before, what is trained where, and what is written.

The output holds train.json (what is trained, put if absent), tokens/, checkpoints/, run.json (how
far it is, the curves) and at the end adapter/ or model/.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from taiyi_ray import models, storage
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ConfigError, ModelError, first_line
from taiyi_ray.train import memory, report, store
from taiyi_ray.train.checkpoints import Position
from taiyi_ray.train.stages import History, Reporter, StagePlan, TrainingPlan, train
from taiyi_ray.versions import versions

logger = logging.getLogger(__name__)

_BEAT = 30.0
"""Seconds between two times at which a run writes how far it is."""

_SPEED_ONLY = frozenset(
    {"output", "data", "workers", "gpu", "keep", "checkpoint_every", "eval_every", "preset",
     "prefix_sharing", "activation_checkpointing", "fsdp", "model", "adapter"}
)  # fmt: skip
"""Settings that may change while a run goes on. The data and the model are compared by content."""


def run(config: TrainConfig, *, dry_run: bool = False) -> int:
    """Train a model, or go on where an earlier run ended.

    Args:
        config: the settings.
        dry_run: print what would be trained, and write nothing.

    Returns:
        The exit code.

    Raises:
        ConfigError: the data or the settings must be changed, or are not those of the earlier run.
        ModelError: the model cannot be trained so, or its loss is no number.
        StorageError: the data cannot be read, or the output not be written.
    """
    output = storage.absolute(config.output)
    model = models.resolve(config.model)
    adapter = models.find_adapter(config.adapter) if config.adapter else None
    tokenizer = models.load_tokenizer(model, trust_remote_code=config.trust_remote_code)
    # What no template can spell is found before anything is read.
    try:
        models.prompt_tokens(tokenizer, [{"role": "user", "content": "?"}], config.chat)
    except TemplateError as error:
        raise ModelError(
            f"model {model.name}: its chat template refuses a question ({first_line(error)})"
        ) from error
    needed = memory.estimate(model, config)
    if dry_run:
        with tempfile.TemporaryDirectory() as tokens:
            plan = _planned(config, output, tokens, model, tokenizer)
            _say(f"{described(plan)}\nmemory: {needed}")
        return 0
    memory.check(needed, config)
    plan = _planned(config, output, storage.join(output, "tokens"), model, tokenizer)
    storage.probe(output)
    _check_same(plan, adapter)
    record = TrainingRecord(plan)
    if record.is_done():
        _say(f"done before: {record.trained}")
        return 0
    _say(described(plan))
    if config.workers:
        from taiyi_ray.train.workers import on_workers

        on_workers(plan)
    else:
        train(plan, model.path, adapter.path if adapter else None, _device(), record.reporter())
    _say(f"done: {record.trained}")
    return 0


# ---------------------------------------------------------------------------------------- the plan


def _planned(
    config: TrainConfig,
    output: str,
    tokens: str,
    model: models.Model,
    tokenizer: Any,
) -> TrainingPlan:
    data = storage.absolute(config.data)
    folder = storage.join(tokens, f"{models.tokenizer_digest(model)[:16]}-{config.chat}")
    stages: list[StagePlan] = []
    for stage in config.stages_to_train:
        units = store.build(data, stage.data, folder, tokenizer, config.chat)
        kept = store.TokenStore(units, config.row_tokens)
        if not len(kept):
            raise ConfigError(
                f"{data}: {', '.join(stage.data)} hold no instruction that can be trained "
                f"({_counted(kept.left_out)}); a larger --row-tokens keeps longer ones"
            )
        number = int(config.stages) - 1 if config.stages in ("1", "2") else len(stages)
        order = kept.order(config.batch, config.seed, number)
        steps = order.steps_of_an_epoch * stage.epochs
        stages.append(
            StagePlan(
                number=number,
                units=tuple(units),
                epochs=stage.epochs,
                steps=min(steps, config.max_steps or steps),
                records=len(kept),
                tokens=int(kept.lengths.sum()),
                left_out=dict(kept.left_out),
            )
        )
    dev = store.build(data, ["dev"], folder, tokenizer, config.chat) if config.eval_every else ()
    return TrainingPlan(config, output, model.digest, tuple(stages), tuple(dev))


def described(plan: TrainingPlan) -> str:
    """Return what a run trains, a line for each stage."""
    lines = []
    for stage in plan.stages:
        lines.append(
            f"stage {stage.number + 1}: {stage.records:,} records, {stage.tokens:,} tokens, "
            f"{stage.epochs} epochs, {stage.steps:,} steps"
        )
        if stage.left_out:
            lines.append(f"  left out: {_counted(stage.left_out)}")
    return "\n".join(lines)


def _counted(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "it is empty"


def _identity(plan: TrainingPlan, adapter: models.Model | None) -> dict[str, Any]:
    """What decides what is learned. A run goes on only where all of it is as it was."""
    settings = plan.config.model_dump(mode="json", exclude=set(_SPEED_ONLY))
    return {
        "model": plan.model,
        "adapter": adapter.digest if adapter else None,
        "settings": settings,
        "data": [{unit.name: unit.digest for unit in stage.units} for stage in plan.stages],
    }


def _check_same(plan: TrainingPlan, adapter: models.Model | None) -> None:
    """Write what is trained; or raise ConfigError when the output is of something else."""
    path = storage.join(plan.output, "train.json")
    mine = _identity(plan, adapter)
    if storage.put_if_absent(path, json.dumps(mine, indent=1).encode()):
        return
    there = json.loads(storage.read(path) or b"{}")
    if differences := list(_differences(there, mine)):
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ConfigError(
            f"{plan.output}: is the output of another run ({'; '.join(differences[:3])}{more}); "
            "give a new --output, or the settings and data as they were"
        )


def _differences(there: Any, mine: Any, name: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(mine, dict):
        for key in {**there, **mine}:
            inner = f"{name}.{key}" if name else key
            yield from _differences(there.get(key), mine.get(key), inner)
    elif isinstance(there, list) and isinstance(mine, list) and len(there) == len(mine):
        for number, pair in enumerate(zip(there, mine, strict=True), 1):
            yield from _differences(*pair, f"{name}[{number}]")
    elif there != mine:
        yield f"{name} was {_short(there)} and is {_short(mine)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


# -------------------------------------------------------------------------------------- the record


class TrainingRecord:
    """How far a run is: OUT/run.json, written again and again, and a line on stderr.

    Args:
        plan: the plan of the run.
    """

    def __init__(self, plan: TrainingPlan) -> None:
        self._plan = plan
        self._path = storage.join(plan.output, "run.json")
        self._started = self._beaten = time.time()
        self._first: int | None = None
        """The steps that were made before this process."""

    @property
    def trained(self) -> str:
        """The address of the trained adapter or model."""
        name = "model" if self._plan.config.method == "full" else "adapter"
        return storage.join(self._plan.output, name)

    def is_done(self) -> bool:
        """Whether an earlier run trained all that this one would, and it is still there."""
        data = storage.read(self._path)
        done = data is not None and json.loads(data)["state"] == "done"
        return done and storage.exists(self.trained)

    def reporter(self) -> Reporter:
        """Return what the first worker tells this record."""
        return Reporter(point=self._point, saved=self._saved)

    def _point(self, position: Position, history: History) -> None:
        if self._first is None:
            self._first = position.step - 1
        now = time.time()
        if now - self._beaten < _BEAT:
            return
        self._beaten = now
        self._write("running", position, history)
        _say(self.line(position, history, now - self._started))

    def line(self, position: Position, history: History, seconds: float) -> str:
        """Return what a person reads about the progress: step, loss, rate, time left.

        Args:
            position: where the run is.
            history: its curves.
            seconds: since this process began to train.
        """
        done = position.step - (self._first or 0)
        left = (self._plan.steps - position.step) * seconds / max(1, done)
        newest = history.points[-1] if history.points else {}
        tokens = newest.get("tokens", 0) / (newest.get("seconds") or 1)
        return (
            f"stage {self._plan.stages[position.stage].number + 1}, step {position.step:,} of "
            f"{self._plan.steps:,}, loss {newest.get('loss', float('nan')):.3f}, "
            f"{tokens:,.0f} tokens/s, {_duration(left)} left"
        )

    def _saved(self, folder: Path, history: History) -> None:
        for file in sorted(folder.iterdir()):
            address = storage.join(self.trained, file.name)
            with file.open("rb") as source, storage.written(address) as target:
                shutil.copyfileobj(source, target)
        position = Position(self._plan.steps, len(self._plan.stages) - 1)
        self._write("done", position, history)

    def _write(self, state: str, position: Position, history: History) -> None:
        record = {
            "state": state,
            "started": self._started,
            "updated": time.time(),
            "step": position.step,
            "steps": self._plan.steps,
            "stages": [
                {
                    "number": stage.number + 1,
                    "records": stage.records,
                    "tokens": stage.tokens,
                    "epochs": stage.epochs,
                    "steps": stage.steps,
                    "left_out": stage.left_out,
                }
                for stage in self._plan.stages
            ],
            "totals": _totals(history.points),
            "settings": self._plan.config.model_dump(mode="json"),
            "versions": versions(),
            "points": history.points,
        }
        storage.replace(self._path, json.dumps(record, ensure_ascii=False).encode())
        page = storage.join(self._plan.output, "report.html")
        storage.replace(page, report.html(record).encode())
        events = storage.join(self._plan.output, "tensorboard", "events.out.tfevents.taiyi_ray")
        storage.replace(events, report.tensorboard(history.points))


def _totals(points: list[dict[str, Any]]) -> dict[str, float]:
    """What all steps of a run sum up to, and what that says of its speed."""
    sums = {
        name: sum(point[name] for point in points)
        for name in ("records", "tokens", "computed", "room", "targets", "seconds")
    }
    return sums | {
        "tokens_per_second": sums["tokens"] / (sums["seconds"] or 1),
        "packing_efficiency": sums["computed"] / (sums["room"] or 1),
        "saved_by_sharing": 1 - sums["computed"] / (sums["tokens"] or 1),
    }


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

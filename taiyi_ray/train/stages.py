"""The steps of all stages, as every worker makes them; the first worker keeps the results."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of

from taiyi_ray import models
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ModelError, TaiyiError, first_line
from taiyi_ray.train import network, sharding, utilisation
from taiyi_ray.train.checkpoints import (
    TRIES,
    Checkpoints,
    Marker,
    Position,
    Removed,
    overtaken,
)
from taiyi_ray.train.packing import Row, TokenRecord, blocks, packed
from taiyi_ray.train.step import Stepper, StepResult, StepSettings
from taiyi_ray.train.store import TokenStore, Unit

logger = logging.getLogger(__name__)

_POINTS = 1000
"""About how many points the curves of a run have."""

_WEIGHTS, _OPTIMISER, _HISTORY = "weights.safetensors", "optimiser.safetensors", "history.json"
_PART = 1 << 30
"""The most bytes of tensors in a file of a checkpoint, unless one of them has more."""


@dataclass(frozen=True)
class StagePlan:
    """What a stage trains.

    Attributes:
        number: the number of the stage in the settings, from 0: orders depend on it.
        units: its units of the token store.
        epochs: how often every record is seen.
        steps: the number of its steps.
        records: the number of its records.
        tokens: the tokens of its records.
        left_out: how many instructions are left out, by reason.
    """

    number: int
    units: tuple[Unit, ...]
    epochs: int
    steps: int
    records: int
    tokens: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class TrainingPlan:
    """All that the workers of a run need to know.

    Attributes:
        config: the settings.
        output: the address of the output.
        model: the digest of the model.
        stages: the stages.
        dev: units of the token store whose loss is looked at.
        identity: what the run is known by (`train.identity`).
        origin: what the run stands on, for its record: revision, versions, data, model.
    """

    config: TrainConfig
    output: str
    model: str
    stages: tuple[StagePlan, ...]
    dev: tuple[Unit, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """The number of steps of the whole run."""
        return sum(stage.steps for stage in self.stages)


class History:
    """The curves of a run: points, each over some steps that follow one another.

    Args:
        plan: the plan of the run.
        kinds: the task and dataset of each kind of record.
        points: the points of the steps before.
        used: what the share of the GPUs' peak rate is computed from; None where nothing is trained.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        kinds: dict[tuple[str, str], int],
        points: list[dict[str, Any]],
        used: utilisation.Utilisation | None = None,
    ) -> None:
        self.points = points
        self._used = used
        self._every = max(1, plan.steps // _POINTS)
        self._kinds = kinds
        self._begin()

    def _begin(self) -> None:
        self._losses: np.ndarray = np.zeros(len(self._kinds))
        self._targets: np.ndarray = np.zeros(len(self._kinds))
        self._sums = {"records": 0, "tokens": 0, "computed": 0, "room": 0, "seconds": 0.0}
        self._newest: dict[str, float] = {}

    def add(
        self, position: Position, result: StepResult, rate: float, counts: dict[str, float]
    ) -> None:
        """Count a step.

        Args:
            position: the position behind the step.
            result: what the step gave.
            rate: its learning rate.
            counts: records, tokens, computed tokens, room in the rows, and seconds of the step.
        """
        self._losses = self._losses + result.losses
        self._targets = self._targets + result.targets
        for name, count in counts.items():
            self._sums[name] += count
        self._newest = {
            "step": position.step,
            "stage": position.stage,
            "stage_step": position.stage_step,
            "rate": rate,
            "norm": result.norm,
        }
        if position.step % self._every == 0:
            self.end_point()

    def end_point(self) -> None:
        """Make a point of the steps since the last one, where there are any.

        A checkpoint keeps points only. So a point ends at each checkpoint, and no step is missing
        from the curves of a run that goes on from there.
        """
        if (point := self.unfinished) is not None:
            self.points.append(point)
            self._begin()

    @property
    def unfinished(self) -> dict[str, Any] | None:
        """A point of the steps since the last one; None where there are none."""
        if not self._newest:
            return None
        sums = self._sums
        return {
            **self._newest,
            "loss": float(self._losses.sum() / self._targets.sum()),
            "targets": int(self._targets.sum()),
            "mfu": self._used and self._used.share(sums["computed"], sums["seconds"]),
            **sums,
            **self.by_name(self._losses, self._targets),
        }

    def by_name(self, losses: np.ndarray, targets: np.ndarray) -> dict[str, dict[str, float]]:
        """Return the mean loss of a target by task and by dataset."""
        made: dict[str, dict[str, float]] = {}
        for place, name in enumerate(("by_task", "by_dataset")):
            sums: dict[str, list[float]] = {}
            for kind, number in self._kinds.items():
                summed = sums.setdefault(kind[place], [0.0, 0.0])
                summed[0] += float(losses[number])
                summed[1] += float(targets[number])
            made[name] = {key: loss / count for key, (loss, count) in sums.items() if count}
        return made


@dataclass
class Reporter:
    """What the workers tell while they train.

    Attributes:
        point: called on the first worker with the position and the curves, after each step.
        saved: called on the first worker at the end, with the folder of the trained model and the
            curves.
        notice: called on all workers after each step: whether a machine will be taken away soon.
            At the first such notice a checkpoint is written at once.
        begun: called on the first worker just before its first step, with the position and the
            curves: the model is loaded and can be trained.
    """

    point: Callable[[Position, History], None]
    saved: Callable[[Path, History], None]
    notice: Callable[[], bool] = lambda: False
    begun: Callable[[Position, History], None] = lambda _, __: None


def train(
    plan: TrainingPlan,
    model: Path,
    adapter: Path | None,
    device: torch.device,
    reporter: Reporter,
) -> None:
    """Make all steps that are left, on one worker.

    Args:
        plan: what is trained.
        model: the folder of the model.
        adapter: the folder of a LoRA to start from.
        device: where this worker computes.
        reporter: what the first worker tells.

    Raises:
        ModelError: the model cannot be trained so, or its loss is no number.
        StorageError: a checkpoint cannot be read or written.
    """
    config = plan.config
    rank = _rank()
    checkpoints = Checkpoints(plan.output, config.keep)
    try:
        with _named("the loading of the model"):
            net = _network(config, model, adapter, device)
        kinds: dict[tuple[str, str], int] = {}
        dev = TokenStore(plan.dev, config.row_tokens, kinds)
        stores = [TokenStore(stage.units, config.row_tokens, kinds) for stage in plan.stages]
        start, points, resumed = _resumed(plan, net, len(kinds), device, checkpoints)
        used = utilisation.of(net, device, _size(), full=config.method == "full")
        history = History(plan, kinds, points, used)
        position, noticed = start, False
        for number, (stage, store) in enumerate(zip(plan.stages, stores, strict=True)):
            if number < start.stage or (number == start.stage and start.stage_step >= stage.steps):
                continue
            first = start.stage_step if number == start.stage else 0
            if first and resumed:
                stepper = resumed
            else:
                stepper = Stepper(net, step_settings(config), len(kinds), device)
            stepper.check_apart()
            if rank == 0 and position == start:
                reporter.begun(position, history)
            order = store.order(config.batch, config.seed, stage.number)
            for stage_step in range(first, stage.steps):
                position = Position(position.step + 1, number, stage_step + 1)
                rate = step_settings(config).rate(stage_step, stage.steps)
                step = f"step {position.step} (stage {stage.number + 1}, step {stage_step + 1})"
                with _named(step):
                    result, counts = _step(
                        stepper, store, order.step(stage_step), rate, position, config
                    )
                if not result.finite:
                    raise ModelError(
                        f"{step}: the loss is {result.loss:g} and the norm of the gradients "
                        f"{result.norm:g}; the last checkpoint is from before; give a lower "
                        "--learning-rate and a new --output"
                    )
                history.add(position, result, rate, counts)
                last = position.step == plan.steps
                if dev and config.eval_every and (last or position.step % config.eval_every == 0):
                    _look(stepper, dev, config, history)
                due = stage_step + 1 == stage.steps or position.step % config.checkpoint_every == 0
                if not noticed and _anywhere(reporter.notice(), device):
                    due = noticed = True
                if rank == 0:
                    reporter.point(position, history)
                if due:
                    if _anywhere(not stepper.finite, device):
                        raise ModelError(
                            f"{step}: weights are no numbers any more; the last checkpoint is from "
                            "before; give a lower --learning-rate and a new --output"
                        )
                    files = _files(net, stepper, history)
                    if rank == 0:
                        checkpoints.save(position, files)
        checkpoints.wait()
        _write_model(net, config, [model, *([adapter] if adapter else [])], history, reporter)
    finally:
        checkpoints.close()


def _network(
    config: TrainConfig, model: Path, adapter: Path | None, device: torch.device
) -> torch.nn.Module:
    """The model, on this worker's device, or its part of a model that is divided among them."""
    divided = config.fsdp and _size() > 1
    where = torch.device("cpu") if divided else device
    net = network.load(model, network_settings(config), where, adapter)
    if divided:
        sharding.shard(net, _size(), device, bf16=config.precision == "bf16")
    return net


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Have errors say where they were raised."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{where}: the GPU has too little memory ({first_line(error)}); give "
            "--activation-checkpointing or --fsdp; or a new --output, and fewer --row-tokens, "
            "--method qlora or a smaller model"
        ) from error
    except TaiyiError:
        raise
    except torch._dynamo.exc.TorchDynamoException as error:
        raise ModelError(
            f"{where}: the layers cannot be compiled ({first_line(error)}); leave out --compile"
        ) from error
    except Exception as error:
        error.add_note(f"raised at {where}")
        raise


def _step(
    stepper: Stepper,
    store: TokenStore,
    numbers: Iterable[int],
    rate: float,
    position: Position,
    config: TrainConfig,
) -> tuple[StepResult, dict[str, float]]:
    """Learn from the records of these numbers; return the result, and what `History` counts."""
    began = time.monotonic()
    records = [store.record(int(number)) for number in numbers]
    made = blocks(records, config.row_tokens, share=config.prefix_sharing)
    shares = packed(made, _size(), config.row_tokens)
    # Dropout draws from the step and the worker, so that a run that goes on draws the same.
    seed = (config.seed * 1_000_003 + position.step - 1) * 4096 + _rank()
    targets = sum(record.targets for record in records)
    result = stepper.step(shares[_rank()], targets, rate, seed % (1 << 63))
    return result, {
        "records": len(records),
        "tokens": sum(len(record.ids) for record in records),
        "computed": sum(block.tokens for block in made),
        "room": sum(len(rows) for rows in shares) * config.row_tokens,
        "seconds": time.monotonic() - began,
    }


def network_settings(config: TrainConfig) -> network.NetworkSettings:
    """Return what the settings say about the network."""
    assert config.precision != "auto", "it was chosen when the run began"
    return network.NetworkSettings(
        method=config.method,
        precision=config.precision,
        rank=config.rank,
        alpha=config.alpha,
        dropout=config.dropout,
        rslora=config.rslora,
        targets=config.targets,
        activation_checkpointing=config.activation_checkpointing,
        compile=config.compile,
        trust_remote_code=config.trust_remote_code,
        seed=config.seed,
    )


def step_settings(config: TrainConfig) -> StepSettings:
    """Return what the settings say about a step."""
    return StepSettings(
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        schedule=config.lr_schedule,
        weight_decay=config.weight_decay,
        clip=config.clip,
        lora_plus=config.lora_plus,
        bf16=config.precision == "bf16",
    )


def _files(
    net: torch.nn.Module, stepper: Stepper, history: History
) -> dict[str, Callable[[], bytes]]:
    """The files of a checkpoint; what changes with the next step is copied here.

    All workers call it together; the first one gets the files.
    """
    keep = _rank() == 0
    weights = sharding.gathered(network.trained(net), keep=keep)
    state = stepper.state(keep=keep)
    history.end_point()
    points = json.dumps(history.points).encode()
    return {
        **dict(_parts(_WEIGHTS, weights)),
        **dict(_parts(_OPTIMISER, state)),
        _HISTORY: lambda: points,
    }


def _parts(
    name: str, tensors: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Files of about a GB that hold the tensors: no store takes one of any size at once."""
    part: dict[str, torch.Tensor] = {}
    number = size = 0
    for key, tensor in tensors.items():
        if part and size + tensor.nbytes > _PART:
            yield f"{name}.{number}", partial(bytes_of, part)
            part, number, size = {}, number + 1, 0
        part[key] = tensor
        size += tensor.nbytes
    yield f"{name}.{number}", partial(bytes_of, part)


def _tensors(name: str, marker: Marker) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the files that `_parts` made, a file at a time."""
    for file in marker.files:
        if file["name"].startswith(name):
            yield from tensors_of(marker.read(file["name"])).items()


def _resumed(
    plan: TrainingPlan,
    net: torch.nn.Module,
    kinds: int,
    device: torch.device,
    checkpoints: Checkpoints,
) -> tuple[Position, list[dict[str, Any]], Stepper | None]:
    """Give the network the weights of the newest checkpoint, where there is one.

    Another run of the same output may remove this checkpoint while it is read, because it has
    written newer ones. Then all workers begin again with the newest.

    Returns:
        The position of the checkpoint, the points of its curves, and in mid-stage what makes the
        stage's steps: its optimiser has learned what it had then.
    """
    config = plan.config
    marker = _newest(checkpoints)
    if marker is None:
        return Position(), [], None
    for _ in range(TRIES):
        stepper, removed = None, False
        try:
            points = json.loads(marker.read(_HISTORY))
            _give_back(network.trained(net), marker)
            if marker.position.stage_step < plan.stages[marker.position.stage].steps:
                stepper = Stepper(net, step_settings(config), kinds, device)
                stepper.restore(_tensors(_OPTIMISER, marker))
        except Removed:
            logger.info("checkpoint %d is gone; the newest is read", marker.position.step)
            removed = True
        if not _anywhere(removed, device):
            return marker.position, points, stepper
        marker = _newest(checkpoints)
        if marker is None:  # some weights are those of a checkpoint that is gone
            break
    raise overtaken(checkpoints.folder)


def _give_back(weights: dict[str, torch.nn.Parameter], marker: Marker) -> None:
    with torch.no_grad():
        for name, tensor in _tensors(_WEIGHTS, marker):
            weights[name].copy_(sharding.part(tensor, weights[name]))


def _look(stepper: Stepper, dev: TokenStore, config: TrainConfig, history: History) -> None:
    """Put the losses on the data for development into the newest point of the curves."""
    losses: Any = 0
    targets: Any = 0
    for rows in _dev_rows(dev, config):
        seen = stepper.look(rows)
        losses, targets = losses + seen.losses, targets + seen.targets
    dev_losses = history.by_name(losses, targets)
    dev_losses["all"] = {"loss": float(losses.sum() / max(1, targets.sum()))}
    history.end_point()
    # A thread may be writing the curves: a point that it has must not change.
    history.points[-1] = history.points[-1] | {"dev": dev_losses}


def _dev_rows(dev: TokenStore, config: TrainConfig) -> Iterator[Sequence[Row]]:
    for begin in range(0, len(dev), config.batch):
        records: list[TokenRecord] = [
            dev.record(n) for n in range(begin, min(begin + config.batch, len(dev)))
        ]
        made = blocks(records, config.row_tokens, share=config.prefix_sharing)
        yield packed(made, _size(), config.row_tokens)[_rank()]


def _write_model(
    net: torch.nn.Module,
    config: TrainConfig,
    begun_with: Sequence[Path],
    history: History,
    reporter: Reporter,
) -> None:
    """Write what was trained, and what belongs to it.

    Args:
        net: the trained model.
        config: the settings.
        begun_with: the folders of the model and of the adapter that the training started from.
        history: the curves.
        reporter: takes the folder.
    """
    import shutil
    import tempfile

    from taiyi_ray.models.folder import matters

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network.save(net, folder, config.model, first=_rank() == 0)
        if _rank():
            return
        if config.method == "full":  # an adapter takes these from its base
            for file in begun_with[0].iterdir():
                weights = ".safetensors" in file.name or ".bin" in file.name
                copied = matters(file.name) and not weights and file.name != models.ASKING_FILE
                if copied and not (folder / file.name).exists():
                    shutil.copyfile(file, folder / file.name)
        if (form := models.asking_form(config.data)) is not None:
            models.write_asking_form(name, form)  # that of the instructions
        if (trained := models.trained_on(config.data, *map(str, begun_with))) is not None:
            models.write_trained_on(name, trained)
        reporter.saved(folder, history)


def _newest(checkpoints: Checkpoints) -> Marker | None:
    """What the first worker finds: another may see a checkpoint more."""
    found = [checkpoints.newest() if _rank() == 0 else None]
    if _size() > 1:
        dist.broadcast_object_list(found, src=0)
    return found[0]


def _anywhere(here: bool, device: torch.device) -> bool:
    """Whether something is so on any worker."""
    if _size() == 1:
        return here
    told = torch.tensor(int(here), device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def _size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

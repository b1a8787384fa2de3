"""One training step: rows in, loss and gradients, weights changed. Plain torch.

The loss of a step is the mean over the targets of all its records, however they are packed and on
how many workers: each worker sums its tokens' losses divided by the targets of the whole step, and
the gradients of the workers are added up, once a step. So no worker must have as many rows as
another, and the curve is the same on one worker and on eight. Where the weights are divided among
the workers, they compute row after row together, and one without a row computes an idle one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from taiyi_ray.errors import ModelError
from taiyi_ray.train.attention import Layout
from taiyi_ray.train.network import trained
from taiyi_ray.train.packing import Block, Row, RowTensors, TokenRecord, tensors
from taiyi_ray.train.sharding import gathered, is_sharded, local, part

Schedule = Literal["constant", "cosine"]

_BUCKET = 256 << 20
"""The most bytes of gradients that are sent at once, unless one of them has more."""

_IDLE: Row = (Block(0, (TokenRecord(np.zeros(2, np.int64), ((1, 2),), 0, 0),)),)
"""A row that a worker computes because others have one more. Nothing of it counts."""


@dataclass(frozen=True)
class StepSettings:
    """What a step does with gradients.

    Attributes:
        learning_rate: the highest rate.
        warmup: share of a stage's steps in which the rate rises from 0.
        schedule: whether the rate stays, or falls to 0 along a cosine.
        weight_decay: of AdamW.
        clip: the largest norm of the gradients; larger ones are scaled down.
        beta2: the second moment's decay in AdamW.
        lora_plus: how many times the rate of an adapter's A its B has (LoRA+).
        bf16: whether products are computed in bfloat16.
    """

    learning_rate: float = 2e-4
    warmup: float = 0.0
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    clip: float = 1.0
    beta2: float = 0.999
    lora_plus: float = 1.0
    bf16: bool = True

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step of a stage.

        Args:
            step: the number of the step in its stage, from 0.
            steps: the number of the stage's steps.
        """
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2


def optimiser(model: torch.nn.Module, settings: StepSettings) -> torch.optim.AdamW:
    """Return an optimiser without any history: each stage starts with one."""
    plain: list[torch.nn.Parameter] = []
    fast: list[torch.nn.Parameter] = []
    for name, weights in trained(model).items():
        (fast if "lora_B" in name else plain).append(weights)
    groups = [
        {"params": params, "times": times}
        for params, times in ((plain, 1.0), (fast, settings.lora_plus))
        if params
    ]
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
        weight_decay=settings.weight_decay,
    )


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step, or a look at the losses without learning, gave over all workers.

    Attributes:
        loss: the mean loss of a target, in nats.
        losses: for each kind of record the sum of its targets' losses.
        targets: for each kind of record the number of its targets.
        norm: the norm of the gradients before they were clipped; 0 without learning.
    """

    loss: float
    losses: np.ndarray
    targets: np.ndarray
    norm: float = 0.0

    @property
    def finite(self) -> bool:
        """Whether loss and gradients are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Stepper:
    """Makes steps on one worker.

    Args:
        model: a model that `network.load` returned.
        settings: what a step does with gradients.
        kinds: the number of kinds of records.
        device: where the model is.
    """

    def __init__(
        self, model: torch.nn.Module, settings: StepSettings, kinds: int, device: torch.device
    ) -> None:
        self._model, self._settings, self._kinds, self._device = model, settings, kinds, device
        self.optimiser = optimiser(model, settings)

    def check_apart(self) -> None:
        """Check that the records of a row do not see one another.

        Layers that are no attention (Mamba, linear attention, convolution), and attention that
        transformers' interface does not reach (BLOOM), mix packed records without a word. A loss of
        one record must have no gradient at another; as kernels add nothing there, it is exactly 0.

        Raises:
            ModelError: they see one another, or the model's results are no numbers.
        """
        self._model.eval()
        ids = np.arange(8)
        row = tuple(Block(0, (TokenRecord(ids, ((4, 8),), 0, group),)) for group in (0, 1))
        embedded: list[torch.Tensor] = []

        def keep(_module: torch.nn.Module, _ids: object, output: torch.Tensor) -> torch.Tensor:
            embedded.append(output.detach().requires_grad_())
            return embedded[-1].clone()  # which a model may change in place

        layer = cast(Any, self._model).get_input_embeddings()
        hook = layer.register_forward_hook(keep)
        try:
            losses = self.losses(tensors(row))
        finally:
            hook.remove()
        (gradient,) = torch.autograd.grad(losses[4:].sum(), embedded[0])
        if not (losses.isfinite().all() and gradient.isfinite().all()):
            raise ModelError("what the model computes is no number, before it learns anything")
        if gradient[0, : len(ids)].any():
            raise ModelError(
                "the model mixes the records of a row, because not all of its layers are attention "
                "of transformers' interface; it cannot be trained here"
            )

    def step(self, rows: Sequence[Row], targets: int, rate: float, seed: int) -> StepResult:
        """Learn from a step's rows.

        When loss or gradients are no numbers, the weights stay as they are.

        Args:
            rows: the rows of this worker; there may be none.
            targets: the targets of the whole step, those of all workers.
            rate: the learning rate.
            seed: of dropout in this step, on this worker.
        """
        torch.manual_seed(seed)
        self._model.train()
        sums = self._summed(rows, targets)
        weights = [w for group in self.optimiser.param_groups for w in group["params"]]
        self._add_up(weights)
        (norm,) = gathered(
            {"norm": torch.nn.utils.clip_grad_norm_(weights, self._settings.clip)}
        ).values()
        result = self._result(sums, float(norm))
        if result.finite:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["times"]
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return result

    @property
    def finite(self) -> bool:
        """Whether the weights that this worker has, or its parts of them, are numbers."""
        return all(bool(local(each).isfinite().all()) for each in trained(self._model).values())

    def look(self, rows: Sequence[Row]) -> StepResult:
        """Return the losses of rows, without learning from them."""
        self._model.eval()
        with torch.no_grad():
            return self._result(self._summed(rows, None))

    def _summed(self, rows: Sequence[Row], targets: int | None) -> torch.Tensor:
        """The sums of losses and of targets by kind; with `targets` gradients are summed, too."""
        sums = torch.zeros(2, self._kinds, dtype=torch.float64, device=self._device)
        # Asked before the rows are computed, because workers wait for one another at each layer.
        idle = self._missing(len(rows))
        for row in rows:
            arrays = tensors(row)
            losses = self.losses(arrays)
            if targets is not None:
                (losses.sum() / targets).backward()
            kinds = torch.from_numpy(arrays.kinds).to(self._device)
            sums[0].index_add_(0, kinds, losses.detach().double())
            sums[1].index_add_(0, kinds, torch.ones_like(losses, dtype=torch.float64))
        for _ in range(idle):
            losses = self.losses(tensors(_IDLE))
            if targets is not None:
                (0 * losses.sum()).backward()
        return sums

    def _missing(self, rows: int) -> int:
        """How many rows another worker has more, where all must compute equally many."""
        if not is_sharded(self._model):
            return 0
        most = torch.tensor(rows, device=self._device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most) - rows

    def losses(self, arrays: RowTensors) -> torch.Tensor:
        """Return the loss of each target of a row, in float32; logits are computed only there."""
        ids, positions, sources, labels = (
            torch.from_numpy(part).to(self._device, non_blocking=True)
            for part in (arrays.ids, arrays.positions, arrays.sources, arrays.labels)
        )
        with self._cast():
            logits = self._model(
                input_ids=ids[None],
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=sources,
                layout=Layout(arrays.layout, self._device),
            ).logits[0]
        return F.cross_entropy(logits.float(), labels, reduction="none")

    def _cast(self) -> AbstractContextManager[object]:
        if not self._settings.bf16:
            return nullcontext()
        cast: AbstractContextManager[object] = torch.autocast(self._device.type, torch.bfloat16)
        return cast

    def _add_up(self, weights: Sequence[torch.nn.Parameter]) -> None:
        """Add up the gradients of all workers; a worker without rows has none of its own.

        Where the weights are divided among the workers, this was done with each layer's gradients.
        """
        if not _many() or is_sharded(self._model):
            return
        for each in weights:
            if each.grad is None:
                each.grad = torch.zeros_like(each)
        for bucket in _buckets([each.grad for each in weights]):
            flat = torch.cat([grad.flatten() for grad in bucket])
            dist.all_reduce(flat)
            for grad, summed in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                grad.copy_(summed.view_as(grad))

    def _result(self, sums: torch.Tensor, norm: float = 0.0) -> StepResult:
        if _many():
            dist.all_reduce(sums)
        losses, counts = sums.cpu().numpy()
        return StepResult(float(losses.sum() / max(1, counts.sum())), losses, counts, norm)

    def state(self, *, keep: bool = True) -> dict[str, torch.Tensor]:
        """Return copies, in this machine's memory, of what the optimiser has learned, by name.

        All workers must call it together where the weights are divided among them.

        Args:
            keep: whether this worker keeps them; else nothing is returned.
        """
        names = {id(weights): name for name, weights in trained(self._model).items()}
        learned = {
            f"{names[id(weights)]}|{key}": value
            for weights, values in self.optimiser.state.items()
            for key, value in values.items()
        }
        return gathered(learned, keep=keep)

    def restore(self, state: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Give the optimiser back what `state` returned, as pairs."""
        named = trained(self._model)
        for label, value in state:
            name, _, key = label.rpartition("|")
            weights = named[name]
            its = self.optimiser.state[weights]
            its[key] = value if key == "step" else part(value, weights)


def _buckets(grads: Sequence[Any]) -> Iterator[list[Any]]:
    """Gradients that are sent at once: few messages, and no copy of all of them."""
    bucket: list[Any] = []
    for grad in grads:
        if bucket and sum(each.nbytes for each in bucket) + grad.nbytes > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket


def _many() -> bool:
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)

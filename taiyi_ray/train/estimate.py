"""What a run will take, before it runs: steps, tokens, memory, hours, cost.

Steps and tokens are counted. What packing makes of them is counted in a sample of each stage's
steps, which are known before they run. Hours come from the data sheet of the GPU and an assumption,
which the estimate says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taiyi_ray import models
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import nearest
from taiyi_ray.placement import GPUS, Assumed
from taiyi_ray.train import utilisation
from taiyi_ray.train.memory import Memory, linear_weights
from taiyi_ray.train.packing import blocks, packed
from taiyi_ray.train.planning import described
from taiyi_ray.train.stages import StagePlan, TrainingPlan
from taiyi_ray.train.store import TokenStore

_SAMPLE = 16
"""Steps of a stage that are packed at most."""

MFU = Assumed(0.35, 0.18, 0.5)
"""Share of a GPU's FLOP/s that training uses for the model's own operations. An assumption, not
measured here; published: LoRA of 70 B on H100 18 % (NeMo AutoModel), pre-training of 7 B on H100
46 % (fms-fsdp#89)."""


def flops_of_a_token(config: TrainConfig, weights: int) -> float:
    """Return the operations that a token takes, forward and backward.

    Those of the model, and two more for each weight where activations are computed again.

    Args:
        config: the settings.
        weights: the number of weights that a token is multiplied with.
    """
    of_model = utilisation.flops_of_a_token(weights, full=config.method == "full")
    return of_model + 2.0 * config.activation_checkpointing * weights


@dataclass(frozen=True, slots=True)
class Work:
    """What a run goes through.

    Attributes:
        tokens: tokens of all records of all steps.
        computed: how many of these are computed: what records share is computed once.
        room: the tokens that the rows could hold.
        packed: steps that were packed for this; the others are like them.
    """

    tokens: float
    computed: float
    room: float
    packed: int


def work(plan: TrainingPlan) -> Work:
    """Return what a run goes through, by packing a sample of its steps."""
    parts = [_of_stage(plan.config, stage) for stage in plan.stages]
    return Work(
        tokens=sum(part.tokens for part in parts),
        computed=sum(part.computed for part in parts),
        room=sum(part.room for part in parts),
        packed=sum(part.packed for part in parts),
    )


def _of_stage(config: TrainConfig, stage: StagePlan) -> Work:
    store = TokenStore(stage.units, config.row_tokens)
    order = store.order(config.batch, config.seed, stage.number)
    sample = np.unique(np.linspace(0, stage.steps - 1, _SAMPLE, dtype=int))
    tokens = computed = room = 0
    for step in sample:
        records = [store.record(int(number)) for number in order.step(int(step))]
        tokens += sum(len(record.ids) for record in records)
        made = blocks(records, config.row_tokens, share=config.prefix_sharing)
        computed += sum(block.tokens for block in made)
        shares = packed(made, max(1, config.worker_range[1]), config.row_tokens)
        room += sum(map(len, shares)) * config.row_tokens
    scale = stage.steps / len(sample)
    return Work(tokens * scale, computed * scale, room * scale, len(sample))


def lines(plan: TrainingPlan, model: models.Model, memory: Memory) -> Iterator[str]:
    """Yield what a person reads about a run before it runs, a fact a line.

    Args:
        plan: the plan of the run.
        model: the model that is trained.
        memory: what a worker needs.
    """
    config = plan.config
    yield described(plan)
    whole = work(plan)
    yield (
        f"tokens: about {whole.tokens:,.0f} in all {plan.steps:,} steps, of which "
        f"{whole.computed:,.0f} are computed and the others shared, in rows that are filled to "
        f"{whole.computed / whole.room:.1%} ({whole.packed} steps were packed)"
    )
    yield f"memory: {memory}"
    sheet = GPUS.get(config.gpu or "")
    if sheet is None:
        unknown = f"{config.gpu} is unknown{nearest(config.gpu, GPUS)}; " if config.gpu else ""
        yield f"hours: not estimated; {unknown}give --gpu ({', '.join(GPUS)})"
        return
    workers = max(1, config.worker_range[1])
    operations = whole.computed * flops_of_a_token(config, linear_weights(model))
    value, low, high = (
        operations / (workers * sheet.flops * share) / 3600
        for share in (MFU.value, MFU.high, MFU.low)
    )
    yield (
        f"hours: {_hours(value)} ({_hours(low)} to {_hours(high)}) on {workers} {config.gpu}; "
        f"ASSUMED, not measured: {MFU.value:.0%} ({MFU.low:.0%} to {MFU.high:.0%}) of its FLOP/s "
        f"({sheet.source})"
    )
    if config.price is None:
        yield "cost: not estimated; give --price, the price of an hour of one worker"
    else:
        value, low, high = (hours * workers * config.price for hours in (value, low, high))
        yield f"cost: {value:,.2f} ({low:,.2f} to {high:,.2f})"


def _hours(value: float) -> str:
    if value < 0.1:
        return "under 0.1"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"

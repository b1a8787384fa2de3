"""Fine-tune a model on instruction data, in stages, on this machine or on a Ray cluster.

training.py     one run, from its checks to its end
checks.py       what the user may have wrong
planning.py     the stages and their steps
identity.py     what an output is known by
estimate.py     what a run takes, before it runs
store.py        instructions as tokens, mapped into memory
order.py        which records a step takes: a pure function
packing.py      how a step's records become rows
attention.py    what the tokens of a row see
network.py      the model that is trained, with or without LoRA
sharding.py     the weights divided among the workers
step.py         loss, gradients and optimiser of one step
stages.py       the steps of all stages, on one worker
checkpoints.py  what a run goes on from
workers.py      the same stages on the workers of Ray Train
memory.py       what a worker needs, before it is started
utilisation.py  how much of a GPU's peak rate is used
record.py       what a run writes of itself, again and again
progress.py     what it shows on the console
status.py       how far it is, read from what it wrote
report.py       the curves of a run as a page, and for TensorBoard
presets/        the values of a preset, each with its source

Steps, rows, order, attention, network and sharding need only torch, transformers, peft,
safetensors and numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taiyi_ray.train.training import run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    """Load `run` when it is asked for: a step alone needs less."""
    if name == "run":
        from taiyi_ray.train.training import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

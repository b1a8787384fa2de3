"""The plan of a run: its stages with their steps, and what the run stands on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from taiyi_ray import models, storage
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.train import store
from taiyi_ray.train.identity import identity
from taiyi_ray.train.stages import StagePlan, TrainingPlan
from taiyi_ray.versions import revision, versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MANIFEST = "_manifest.json"
"""What `build-instructions` says of its output."""


def planned(
    config: TrainConfig,
    tokens: str,
    model: models.Model,
    adapter: models.Model | None,
    tokenizer: PreTrainedTokenizerBase,
    tell: Callable[[int, int], object] = lambda _, __: None,
) -> TrainingPlan:
    """Return the plan of a run; the instructions are tokenised where that was not done before.

    Args:
        config: the settings.
        tokens: the folder of the token store.
        model: the model that is trained.
        adapter: the adapter that it starts from.
        tokenizer: the tokenizer of the model.
        tell: is told how many files of a stage are tokenised, and how many there are.

    Raises:
        ConfigError: a stage has nothing to train, or its data cannot be used.
        StorageError: the data cannot be read, or the tokens not be written.
    """
    data = storage.absolute(config.data)
    folder = storage.join(tokens, f"{models.tokenizer_digest(model)[:16]}-{config.chat}")
    stages: list[StagePlan] = []
    for stage in config.stages_to_train:
        units = store.build(data, stage.data, folder, tokenizer, config.chat, tell)
        kept = store.TokenStore(units, config.row_tokens)
        if not len(kept):
            hint = "; a larger --row-tokens keeps longer ones"
            raise ConfigError(
                f"{data}: no instruction of {' and '.join(stage.data)} can be trained "
                f"({_counted(kept.left_out)}){hint if kept.left_out[store.TOO_LONG] else ''}"
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
    return TrainingPlan(
        config=config,
        output=storage.absolute(config.output),
        model=model.digest,
        stages=tuple(stages),
        dev=tuple(dev),
        identity=identity(config, model, adapter, stages),
        origin=_origin(data, model),
    )


def _origin(data: str, model: models.Model) -> dict[str, Any]:
    """What the run stands on, for a person who finds its output later."""
    manifest = storage.read(storage.join(data, _MANIFEST))
    return {
        "revision": revision(),
        "versions": versions(),
        "data": {
            "address": data,
            "manifest": hashlib.sha256(manifest).hexdigest() if manifest else None,
        },
        "model": {"name": model.name, "digest": model.digest},
    }


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

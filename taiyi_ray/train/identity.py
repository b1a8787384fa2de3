"""What a run is known by: OUT/train.json, put once, and compared by each run that goes on.

It is put when everything was checked and the model is loaded, just before the first step. So what
the user had wrong until then does not bind the output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from taiyi_ray import models, storage
from taiyi_ray.config import TrainConfig, completed
from taiyi_ray.errors import ConfigError
from taiyi_ray.placement import fast_bfloat16, takes_gpus
from taiyi_ray.train.stages import StagePlan

_MAY_CHANGE = frozenset(
    {"output", "data", "workers", "gpu", "price", "stall_minutes", "keep", "checkpoint_every",
     "eval_every", "preset", "prefix_sharing", "activation_checkpointing", "compile", "fsdp",
     "model", "adapter"}
)  # fmt: skip
"""Settings that may change while a run goes on. The data and the model are compared by content."""


def identity(
    config: TrainConfig,
    model: models.Model,
    adapter: models.Model | None,
    stages: Sequence[StagePlan],
) -> dict[str, Any]:
    """Return what decides what is learned, as plain JSON values.

    Args:
        config: the settings.
        model: the model that is trained.
        adapter: the adapter that it starts from.
        stages: the stages, which name their data by content.
    """
    return {
        "model": model.digest,
        "adapter": adapter.digest if adapter else None,
        "settings": config.model_dump(mode="json", exclude=set(_MAY_CHANGE)),
        "data": [{unit.name: unit.digest for unit in stage.units} for stage in stages],
    }


def with_precision(config: TrainConfig, output: str) -> TrainConfig:
    """Return the settings with a precision: of `auto` the one that the machine is fast at.

    A run that was begun elsewhere goes on with the precision that it began with.

    Args:
        config: the settings.
        output: the address of the output.
    """
    if config.precision != "auto":
        return config
    if (data := storage.read(_path(output))) is not None:
        precision = json.loads(data)["settings"].get("precision", "bf16")
    else:
        on_gpus = config.worker_range[1] and takes_gpus(config)
        precision = "bf16" if on_gpus or fast_bfloat16() else "float32"
    return config.model_copy(update={"precision": precision})


def check_same(output: str, mine: dict[str, Any]) -> None:
    """Check that the output was not begun as another run.

    A setting that did not exist yet when the output was begun counts as its default.

    Args:
        output: the address of the output.
        mine: the identity of this run.

    Raises:
        ConfigError: the output is that of another run; the message names what differs.
    """
    data = storage.read(_path(output))
    if data is None:
        return
    there = json.loads(data)
    there["settings"] = completed(there["settings"], mine["settings"], TrainConfig)
    if differences := list(_differences(there, mine)):
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ConfigError(
            f"{output}: is the output of another run ({'; '.join(differences[:3])}{more}); "
            "give a new --output, or the settings and data as they were"
        )


def put(output: str, mine: dict[str, Any]) -> None:
    """Put the identity, unless one is there, which must then be the same.

    Args:
        output: the address of the output.
        mine: the identity of this run.

    Raises:
        ConfigError: the output is that of another run.
    """
    if not storage.put_if_absent(_path(output), json.dumps(mine, indent=1).encode()):
        check_same(output, mine)


def _path(output: str) -> str:
    return storage.join(output, "train.json")


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

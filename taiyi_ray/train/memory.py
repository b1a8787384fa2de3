"""The memory that a worker needs, by an estimate made before any weight is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError, safe_open

from taiyi_ray import models
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ConfigError, ModelError, first_line
from taiyi_ray.models.folder import settings
from taiyi_ray.placement import GPUS

_TRAINED = 16
"""Bytes of a weight that is trained, in float32: itself, its gradient, and two moments of AdamW."""
_FOUR_BITS = 0.52
"""Bytes of a weight of 4 bits with its double quantised scales (Dettmers et al. 2023)."""
_NARROW, _WIDE = 20, 8
"""Bytes of what a layer keeps of a token for the backward pass, in units of the hidden size and of
the width inside the MLP: in 16 bits, with an adapter, and without the weights of attention. They
were counted on a Llama, by the hooks that torch offers for saved tensors."""
_IN_FLOAT32 = 1.75
"""How much more that is in float32: norms and the like are float32 in both. Counted likewise."""
_ON_A_CPU = {"bf16": 2.0, "float32": 1.2}
"""On a CPU the allocator holds more than a row keeps, most of all with the copies in 16 bits: with
the embedded model and rows of 2,048 tokens a process grew by 5.8 GB where 2.5 GB of activations and
logits are counted; in float32, one step of four long records, by 4.5 GB where 4.3 GB are."""
_TARGETS = 0.25
"""Share of a row's tokens whose logits are computed; answers are a tenth of real questions."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The bytes that a worker needs.

    Attributes:
        weights: of the model, as it is kept for computing.
        trained: of the weights that are trained, with gradients and optimiser.
        activations: of one row.
        logits: of one row.
    """

    weights: float
    trained: float
    activations: float
    logits: float

    @property
    def bytes(self) -> float:
        """All of them."""
        return self.weights + self.trained + self.activations + self.logits

    def __str__(self) -> str:
        return (
            f"{self.bytes / 1e9:,.1f} GB a worker (weights {self.weights / 1e9:,.1f}, trained "
            f"weights with gradients and optimiser {self.trained / 1e9:,.1f}, activations "
            f"{self.activations / 1e9:,.1f}, logits {self.logits / 1e9:,.1f})"
        )


def estimate(model: models.Model, config: TrainConfig) -> Memory:
    """Estimate the memory of a worker.

    Args:
        model: the model.
        config: the settings.

    Raises:
        ModelError: there are no weights as safetensors, or a file cannot be read.
    """
    shapes = _shapes(model)
    sizes = {name: _product(shape) for name, shape in shapes.items()}
    linear = _linear(shapes)
    wide = 2 if config.precision == "bf16" else 4
    numbers = sum(sizes.values())
    if config.method == "full":  # autocast keeps a copy in bfloat16 while a row is computed
        weights = float(wide * numbers) if config.precision == "bf16" else 0.0
        trained = float(_TRAINED * numbers)
    else:
        multiplied = sum(map(_product, linear))
        weights = float(wide * numbers)
        if config.method == "qlora":
            weights = _FOUR_BITS * multiplied + wide * (numbers - multiplied)
        trained = float(_TRAINED * config.rank * sum(sum(shape) for shape in linear))
    about = settings(model, "config.json")
    about = about.get("text_config") or about
    hidden, layers = about.get("hidden_size", 0), about.get("num_hidden_layers", 0)
    if config.fsdp and (fewest := config.worker_range[0]):
        # While a row is computed, what is outside of the layers is whole, and two of the layers.
        outside = wide * (numbers - sum(map(_product, linear)))
        put_together = outside + 2 * (wide * numbers - outside) / max(1, layers)
        part = 0.0 if config.method == "full" else weights / fewest
        weights, trained = part + put_together, trained / fewest
    inside = about.get("intermediate_size") or 4 * hidden
    a_token = (_NARROW * hidden + _WIDE * inside) * (1 if wide == 2 else _IN_FLOAT32)
    held = 1.0
    if _on_cpu(config):  # elsewhere the weights of attention are computed again
        from taiyi_ray.train.attention import SHORT

        held = _ON_A_CPU["bf16" if wide == 2 else "float32"]
        a_token += wide * about.get("num_attention_heads", 0) * min(SHORT, config.row_tokens)
    kept = a_token * config.row_tokens * layers
    if config.activation_checkpointing:  # the input of each layer, and one layer's activations
        kept = (wide * hidden * layers + a_token) * config.row_tokens
    logits = 2 * 4 * about.get("vocab_size", 0) * config.row_tokens * _TARGETS
    return Memory(weights, trained, held * kept, held * logits)


def linear_weights(model: models.Model) -> int:
    """Return the number of weights that every token is multiplied with: those of linear layers.

    Raises:
        ModelError: there are no weights as safetensors, or a file cannot be read.
    """
    return sum(map(_product, _linear(_shapes(model))))


def _shapes(model: models.Model) -> dict[str, list[int]]:
    """The shape of each tensor of a model, by its name."""
    shapes: dict[str, list[int]] = {}
    files = sorted(model.path.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"{model.path}: has no weights as safetensors; where it has others, load it with "
            "transformers and write it with `save_pretrained`"
        )
    for file in files:
        try:
            tensors: Any = safe_open(file, "pt")  # it has no types of its own
        except SafetensorError as error:
            raise ModelError(
                f"{file}: is not whole ({first_line(error)}); fetch the model again"
            ) from error
        names = tensors.keys()
        shapes |= {name: list(tensors.get_slice(name).get_shape()) for name in names}
    return shapes


def _linear(shapes: dict[str, list[int]]) -> list[list[int]]:
    return [
        shape
        for name, shape in shapes.items()
        if len(shape) == 2 and "embed" not in name and "lm_head" not in name
    ]


def check(memory: Memory, config: TrainConfig) -> None:
    """Check that a worker has the memory, where it is known what it will run on.

    Raises:
        ConfigError: it has too little.
    """
    there = _there(config)
    if there is not None and memory.bytes > there:
        raise ConfigError(
            f"training takes about {memory}, and there are {there / 1e9:,.1f} GB; give fewer "
            "--row-tokens, --activation-checkpointing, another --method, or a smaller model"
        )


def _on_cpu(config: TrainConfig) -> bool:
    import torch

    return not config.gpu and not torch.cuda.is_available()


def _there(config: TrainConfig) -> float | None:
    if config.gpu:
        return GPUS[config.gpu].memory if config.gpu in GPUS else None
    workers = config.worker_range[1]
    if workers and os.environ.get("RAY_ADDRESS"):
        return None  # the cluster's machines may have other memory, and may not be there yet
    import psutil
    import torch

    if not _on_cpu(config):
        return float(torch.cuda.mem_get_info()[1])
    return float(psutil.virtual_memory().available) / max(1, workers)


def _product(shape: list[int]) -> int:
    made = 1
    for size in shape:
        made *= size
    return made

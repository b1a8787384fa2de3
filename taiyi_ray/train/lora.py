"""Layers with an adapter, computed in fewer passes over what they return.

peft multiplies the product of the adapter by a number and adds it to what the layer returns.
Forward and backward, each such step reads and writes tensors as wide as the layer. Here the matrix
product itself adds to what is there, with the alpha of BLAS, as `torch.addmm` offers it.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear, LoraLayer, LoraVariant


class _Added(LoraVariant):  # type: ignore[misc]
    """The plain product of LoRA, added by the matrix product."""

    @staticmethod
    def forward(
        module: LoraLayer, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        """Return `result` (..., out) with the product of the adapter on `x` (..., in)."""
        narrow = module.lora_A[active_adapter](module.lora_dropout[active_adapter](x))
        sums = torch.addmm(
            result.flatten(0, -2),
            narrow.flatten(0, -2),
            module.lora_B[active_adapter].weight.t(),
            alpha=module.scaling[active_adapter],
        )
        return sums.view_as(result)


def add_in_products(model: torch.nn.Module) -> None:
    """Make the layers of a model that have plain adapters compute them so while it is trained."""
    for module in model.modules():
        if type(module) is Linear:  # one on a base of 4 bits works otherwise
            for name, biased in module.lora_bias.items():
                if not biased:
                    module.lora_variant.setdefault(name, _Added())

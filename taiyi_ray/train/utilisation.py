"""Model FLOPs utilisation: how much of a GPU's peak rate the training itself uses.

The FLOPs of a token are estimated as usual (Kaplan et al. 2020; Chowdhery et al. 2022, appendix B,
without attention): two for each weight in the forward pass, two for the gradients of activations,
and two more for those of weights that are trained. So they are 4 N with an adapter and 6 N without.
N are the weights of the layers: of embeddings nothing is computed, and logits at targets only. What
activation checkpointing computes twice counts once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from taiyi_ray.placement import GPUS


@dataclass(frozen=True)
class Utilisation:
    """What a share of the peak rate is computed from.

    Attributes:
        flops: model FLOPs of a token.
        peak: FLOPs a second of all workers together at most; None when it is not known.
    """

    flops: float
    peak: float | None

    def share(self, tokens: float, seconds: float) -> float | None:
        """Return the share of the peak rate, from 0 to 1; None when the peak is not known.

        Args:
            tokens: the tokens that were computed by all workers together.
            seconds: the time that it took.
        """
        if self.peak is None or not seconds:
            return None
        return self.flops * tokens / seconds / self.peak


def flops_of_a_token(weights: float, *, full: bool) -> float:
    """Return the model FLOPs of a token, forward and backward.

    Args:
        weights: the number of weights that a token is multiplied with.
        full: whether all weights are trained, and not an adapter.
    """
    return (6.0 if full else 4.0) * weights


def of(model: torch.nn.Module, device: torch.device, workers: int, *, full: bool) -> Utilisation:
    """Return what the utilisation of a training is computed from.

    Args:
        model: the model that is trained.
        device: where this worker computes; the others have devices of the same kind.
        workers: the number of all workers.
        full: whether all weights are trained, and not an adapter.
    """
    weights = sum(
        module.in_features * module.out_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name and "lm_head" not in name
    )
    peak = None
    if device.type == "cuda":
        peak = peak_of(torch.cuda.get_device_name(device))
    return Utilisation(flops_of_a_token(weights, full=full), peak and peak * workers)


def peak_of(name: str) -> float | None:
    """Return the dense peak rate of a GPU in bfloat16, in FLOPs a second; None if it is not known.

    Args:
        name: its name as the driver gives it, such as "NVIDIA A100-SXM4-80GB".
    """
    words = set(re.split(r"[ -]", name))
    if words & {"PCIe", "NVL"} and "A100" not in words:
        return None  # the data sheet's figures are those of SXM modules, which are faster
    for kind, gpu in GPUS.items():
        if kind.partition("-")[0] in words:
            return gpu.flops
    return None

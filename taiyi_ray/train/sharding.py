"""FSDP2: the weights of a model, their gradients and the optimiser divided among the workers.

Each worker keeps an equal part of every weight. The layers are put together one after the other
when they are computed, and divided again behind it. Gradients are added up, as without FSDP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer


def shard(model: torch.nn.Module, workers: int, device: torch.device, *, bf16: bool) -> None:
    """Divide the weights of a model among all workers, and move this worker's part to its device.

    Args:
        model: a model whose weights are in the memory of the CPU, the same on each worker.
        workers: the number of all workers.
        device: where this worker computes.
        bf16: whether products are computed in bfloat16. Where all weights are trained, they are
            then sent as such: autocast would keep a copy of the whole model on each worker.
    """
    all_trained = all(weights.requires_grad for weights in model.parameters())
    policy = MixedPrecisionPolicy()
    if bf16 and all_trained:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    mesh = init_device_mesh(device.type, (workers,))
    for module in (*layers(model), model):
        sharded = cast(FSDPModule, fully_shard(module, mesh=mesh, mp_policy=policy))
        # The loss of a step is divided by all targets already: gradients are summed, not averaged.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the layers of a model: those of transformers that can be computed twice."""
    return [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether the weights of a model are divided among the workers."""
    return isinstance(model, FSDPModule)


def gathered(tensors: Mapping[str, Any], *, keep: bool = True) -> dict[str, torch.Tensor]:
    """Return copies of whole tensors in the memory of the CPU, by the same names.

    All workers must call it together where the tensors are divided among them.

    Args:
        tensors: tensors, or numbers, by name.
        keep: whether this worker keeps them; else nothing is returned.
    """
    made = {}
    for name, each in sorted(tensors.items()):  # all workers send one after the other
        tensor = each.full_tensor() if isinstance(each, DTensor) else each
        if keep:
            made[name] = torch.as_tensor(tensor).detach().to("cpu", copy=True)
    return made


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this worker has of a tensor that may be divided among the workers."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def part(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return of a whole tensor what this worker keeps of another one of the same shape.

    Args:
        tensor: the whole tensor, the same on each worker.
        like: a tensor that may be divided among the workers.
    """
    moved = tensor.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
    return moved

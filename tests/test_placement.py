"""What an engine asks Ray for, and models that are too large refused with arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from taiyi_ray import placement
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.vllm import engine_arguments
from taiyi_ray.errors import ConfigError
from taiyi_ray.models import Model
from taiyi_ray.placement import Resources, check_fits, fast_bfloat16

LLAMA_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
}


def config(**settings: object) -> AnnotateConfig:
    return AnnotateConfig(inputs=["in"], output="out", **settings)  # type: ignore[arg-type]


def model(folder: Path, gigabytes: float, settings: dict[str, int] = LLAMA_8B) -> Model:
    """A folder with weights of so many GB, which take no room on the disk."""
    (folder / "config.json").write_text(json.dumps(settings))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(int(gigabytes * 1e9))
    return Model("org/model", folder, "digest")


@pytest.mark.parametrize(
    ("settings", "cpu_build", "resources"),
    [
        ({}, True, Resources(1, 0)),
        ({}, False, Resources(2, 1)),
        ({"gpu": "L4"}, False, Resources(2, 1, "L4")),
        ({"engine_args": {"tensor_parallel_size": 4}}, False, Resources(5, 4)),
        (
            {
                "engine_args": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
                "gpu": "A10G",
            },
            False,
            Resources(5, 4, "A10G"),
        ),
        (
            {"engine_args": {"gpu_memory_utilization": 0.45}, "gpu": "H200"},
            False,
            Resources(2, 0.5, "H200"),
        ),
        ({"engine_args": {"gpu_memory_utilization": 0.6}}, False, Resources(2, 1)),
        (
            {"engine_args": {"gpu_memory_utilization": 0.45, "tensor_parallel_size": 2}},
            False,
            Resources(3, 2),
        ),
        ({"engine_args": {"tensor_parallel_size": 2}}, True, Resources(1, 0)),
        ({"engine": "fake"}, False, Resources(1, 0)),
        ({"engine": "fake", "gpu": "L4"}, True, Resources(2, 1, "L4")),
        ({"engine": "http", "url": "http://localhost/v1"}, False, Resources(0.25, 0)),
    ],
)
def test_what_an_engine_takes(settings, cpu_build, resources, monkeypatch):
    monkeypatch.setattr(placement, "_is_cpu_build", lambda: cpu_build)
    asked = config(**settings)
    assert ENGINES[asked.engine].resources(asked) == resources


@pytest.mark.parametrize("value", [0, -1, "most", True])
@pytest.mark.parametrize("name", ["gpu_memory_utilization", "tensor_parallel_size"])
def test_an_argument_that_is_no_number_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"^--engine-arg {name}={value}: is not a number above 0"):
        placement.of_model(config(gpu="L4", engine_args={name: value}))


def test_the_installed_build_is_known():
    assert placement._is_cpu_build()


def test_resources_are_said_in_words_and_as_options():
    assert str(Resources(0.25, 0)) == "0.25 CPUs"
    assert str(Resources(1, 0)) == "1 CPU"
    assert str(Resources(2, 1, "L4")) == "2 CPUs and 1 L4 GPU"
    assert str(Resources(3, 2)) == "3 CPUs and 2 GPUs"
    assert str(Resources(2, 0.5, "H200")) == "2 CPUs and 0.5 H200 GPUs"
    assert Resources(1, 0).as_options() == {"num_cpus": 1, "num_gpus": 0}
    assert 7 * Resources(2, 1 / 7).as_options()["num_gpus"] <= 1
    assert Resources(3, 2, "L4").as_options() == {
        "num_cpus": 3,
        "num_gpus": 2,
        "accelerator_type": "L4",
    }


@pytest.mark.parametrize(
    ("capability", "gpu", "fast"),
    [("AVX2", False, False), ("AVX2", True, True), ("AVX512", False, True)],
)
def test_where_bfloat16_is_slow_an_engine_computes_in_float32(
    capability, gpu, fast, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert fast_bfloat16() is fast

    def dtype(**given: str) -> str:
        found = engine_arguments(
            str(tmp_path), context_length=64, trust_remote_code=False, arguments=given
        )
        return str(found["dtype"])

    assert dtype() == ("bfloat16" if fast else "float32")
    assert dtype(dtype="float16") == "float16"
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    assert dtype() == "bfloat16"


def test_a_model_too_large_for_the_gpu_is_refused_with_arithmetic(tmp_path):
    with pytest.raises(ConfigError) as refused:
        check_fits(config(gpu="T4"), model(tmp_path, 16.1), 4096)
    # 2 (K, V) x 2 bytes x 32 layers x 8 heads x 128 = 131,072 bytes a token
    assert "16.1 GB of weights and 0.5 GB for 4,096 tokens" in str(refused.value)
    assert "1 x 16 GB x 0.92 = 14.7 GB" in str(refused.value)
    assert "tensor_parallel_size=2" in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"gpu": "L4"},
        {"gpu": "T4", "engine_args": {"tensor_parallel_size": 2}},
        {"gpu": "T4", "engine_args": {"pipeline_parallel_size": 2}},
        {"gpu": "a kind of next year"},
        {},
    ],
)
def test_what_fits_or_cannot_be_known_is_taken(settings, tmp_path):
    check_fits(config(**settings), model(tmp_path, 16.1), 4096)


def test_the_context_counts_too(tmp_path):
    folder = model(tmp_path, 14.0)
    check_fits(config(gpu="T4"), folder, 4096)
    with pytest.raises(ConfigError, match=r"4\.3 GB for 32,768 tokens"):
        check_fits(config(gpu="T4"), folder, 32768)


def test_a_configuration_in_other_names_counts_only_the_weights(tmp_path):
    check_fits(config(gpu="T4"), model(tmp_path, 14.0, {"d_model": 4096}), 1 << 20)

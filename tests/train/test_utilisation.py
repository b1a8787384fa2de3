"""How much of a GPU's peak rate a training uses."""

from pathlib import Path

import pytest
import torch

from taiyi_ray.train import utilisation
from taiyi_ray.train.network import NetworkSettings, load
from tests.train.small import make_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA A10G", 70),
        ("Tesla T4", 65),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA GeForce RTX 5090", None),
    ],
)
def test_the_peak_of_a_gpu_is_that_of_its_data_sheet(name: str, teraflops: float | None) -> None:
    peak = utilisation.peak_of(name)
    assert peak == (teraflops and teraflops * 1e12)


def test_a_token_takes_four_or_six_flops_for_each_weight_of_the_layers(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    of_a_layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64  # q and o, k and v, the three of the MLP
    for method, flops in (("lora", 4), ("full", 6)):
        model = load(folder, NetworkSettings(method, rank=4), CPU)
        used = utilisation.of(model, CPU, 2, full=method == "full")
        assert used.flops == flops * 2 * of_a_layer
        assert used.share(100, 1.0) is None, "the peak of a CPU is not known"


def test_the_share_is_that_of_all_workers_together() -> None:
    used = utilisation.Utilisation(4 * 7e9, 8 * 989e12)
    assert used.share(8 * 10_000, 1.0) == pytest.approx(0.283, abs=0.001)
    assert used.share(8, 0.0) is None

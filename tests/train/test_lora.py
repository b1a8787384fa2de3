"""Layers with an adapter learn what those of peft learn."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from taiyi_ray.train.lora import add_in_products


class Layers(torch.nn.Module):
    """Two linear layers, one of them with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = torch.nn.Linear(16, 48, bias=False), torch.nn.Linear(48, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(torch.tanh(self.wide(x)))


@pytest.mark.parametrize(("biased", "dora"), [(False, False), (True, False), (False, True)])
def test_outputs_and_gradients_are_those_of_peft(biased: bool, dora: bool) -> None:
    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, use_dora=dora,
        lora_bias=biased,
    )  # fmt: skip
    if biased:
        config.target_modules = ["narrow"]  # peft puts a bias only where the layer has one
    theirs = get_peft_model(Layers(), config)
    ours = deepcopy(theirs)
    add_in_products(ours)
    changed = any(
        type(variant).__module__.startswith("taiyi_ray")
        for module in ours.modules()
        for variant in getattr(module, "lora_variant", {}).values()
    )
    assert changed == (not biased and not dora), "others keep their own way"
    x = torch.randn(2, 5, 16)
    results = []
    for model in (theirs, ours):
        result = model(x)
        result.square().sum().backward()
        results.append([result] + [w.grad for w in model.parameters() if w.requires_grad])
    torch.testing.assert_close(results[0], results[1])

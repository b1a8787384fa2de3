"""The model that is trained: its weights, the adapter on it, and what is kept of it."""

from __future__ import annotations

import inspect
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from transformers import AttentionInterface, AutoModelForCausalLM

from taiyi_ray.errors import ModelError, first_line, nearest
from taiyi_ray.train.attention import PACKED, attend
from taiyi_ray.train.lora import add_in_products
from taiyi_ray.train.sharding import gathered, layers

logger = logging.getLogger(__name__)

Method = Literal["lora", "qlora", "full"]
Precision = Literal["bf16", "float32"]

DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class NetworkSettings:
    """How a model is trained.

    Attributes:
        method: an adapter (lora), one on a base of 4 bits (qlora), or all weights (full).
        precision: of the computation. The weights that are trained are always float32.
        rank: of the adapter.
        alpha: the adapter's product is multiplied with alpha / rank.
        dropout: share of the adapter's inputs that is dropped while training.
        rslora: multiply with alpha / sqrt(rank) instead.
        targets: names of the layers that get an adapter, or `all-linear`.
        activation_checkpointing: compute activations again in the backward pass, to save memory.
        compile: compile the layers but for their attention, when they are first computed.
        trust_remote_code: run Python code that comes with the model.
        seed: of the adapter's first weights.
    """

    method: Method = "lora"
    precision: Precision = "bf16"
    rank: int = 16
    alpha: float = 32
    dropout: float = 0.0
    rslora: bool = False
    targets: list[str] | Literal["all-linear"] = "all-linear"
    activation_checkpointing: bool = False
    compile: bool = False
    trust_remote_code: bool = False
    seed: int = 0


def load(
    path: Path, settings: NetworkSettings, device: torch.device, adapter: Path | None = None
) -> torch.nn.Module:
    """Load a model with packed attention, and put an adapter on it where the method has one.

    Args:
        path: the folder of the model.
        settings: how it is trained.
        device: where it is computed.
        adapter: the folder of a LoRA to start from.

    Raises:
        ModelError: the model cannot be loaded, or not be trained so.
    """
    more: dict[str, Any] = {}
    if settings.method == "qlora":
        more["quantization_config"] = _four_bits(settings)
        more["device_map"] = {"": device}
    dtype = torch.float32 if settings.method == "full" else DTYPES[settings.precision]
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            attn_implementation=PACKED,
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            **more,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(f"{path}: cannot be loaded ({first_line(error)})") from error
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise ModelError(f"{path}: {type(model).__name__} cannot compute logits at targets only")
    if settings.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.method != "full":
        model = _adapted(model, settings, adapter)
        for weights in model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
        for module in model.modules():
            # peft would copy a layer's inputs to 32 bits, and autocast would copy them back.
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False
        add_in_products(model)
    if settings.method != "qlora":
        model.to(device)
    for module in model.modules():
        # Without this, bitsandbytes packs a layer's weights at the first look on some CPUs; then it
        # computes no gradients any more.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if settings.compile:
        # Attention is not compiled with its layer, because it does something else for each row.
        AttentionInterface.register(PACKED, torch.compiler.disable(attend))
        for layer in layers(model):
            layer.compile(dynamic=True)  # rows differ in length
    model.train()
    return cast(torch.nn.Module, model)


def _four_bits(settings: NetworkSettings) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[settings.precision],
    )


def _adapted(model: Any, settings: NetworkSettings, adapter: Path | None) -> Any:
    if adapter is not None:
        try:
            adapted = PeftModel.from_pretrained(model, adapter, is_trainable=True)
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelError(
                f"adapter {adapter}: does not fit the model ({first_line(error)})"
            ) from error
        its: Any = adapted.peft_config["default"]
        has = (its.r, its.lora_alpha, its.lora_dropout, its.use_rslora)
        if has != (settings.rank, settings.alpha, settings.dropout, settings.rslora):
            logger.warning(
                "adapter %s: has rank %d, alpha %g, dropout %g and rslora %s, which count instead "
                "of those of the settings",
                *(adapter, *has),
            )
        return adapted
    if isinstance(settings.targets, list):
        check_targets(model, settings.targets)
    # The first weights are drawn on the CPU, so that they are the same on every device.
    torch.manual_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # peft multiplies with it, whole or not
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        target_modules=settings.targets,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's notes about names that are regular expressions
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(f"targets: {first_line(error)}") from error


def check_targets(model: torch.nn.Module, targets: list[str]) -> None:
    """Check that a model has a linear layer of each of these names, which an adapter may change.

    A target is the name of a layer or the end of it, as peft takes it: `q_proj` or
    `layers.0.self_attn.q_proj`.

    Raises:
        ModelError: it has none of some name (the message names the nearest), or the layer shares
            its weights with the input.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    known = {name.rpartition(".")[2] for name in layers}
    its = cast(Any, model)
    tied = its.get_output_embeddings() if its.config.tie_word_embeddings else None
    for target in targets:
        found = [module for name, module in layers.items() if f".{name}".endswith(f".{target}")]
        if not found:
            raise ModelError(
                f"targets: the model has no linear layer {target!r}"
                f"{nearest(target, known) or '; it has ' + ', '.join(sorted(known))}"
            )
        if any(module is tied for module in found):
            raise ModelError(
                f"targets: {target!r} shares its weights with the embeddings of the input, which "
                "an adapter on it would change too; leave it out"
            )


def trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the weights that are trained, by name."""
    return {name: weights for name, weights in model.named_parameters() if weights.requires_grad}


def save(model: torch.nn.Module, folder: Path, base: str, *, first: bool = True) -> None:
    """Write the trained model: an adapter as peft reads it, or all weights, in bfloat16.

    Args:
        model: a model that `load` returned. All workers must call this together where its weights
            are divided among them.
        folder: the folder, which exists.
        base: the name of the base model, for the adapter's own description.
        first: whether this worker is the one that writes.
    """
    if not isinstance(model, PeftModel):
        rounded = _rounded(model, keep=first)
        if first:
            its: Any = model
            its.save_pretrained(folder, state_dict=rounded)
            its.config.dtype = torch.bfloat16  # it was written as that of the model here
            its.config.save_pretrained(folder)
        return
    # By default peft asks the hub whether the base has these embeddings.
    states = get_peft_model_state_dict(model, save_embedding_layers=False)
    states = gathered(states, keep=first)
    if first:
        save_file(states, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = model.peft_config["default"]
        config.base_model_name_or_path = base
        config.inference_mode = True
        config.save_pretrained(folder)


def _rounded(model: torch.nn.Module, *, keep: bool) -> dict[str, torch.Tensor]:
    """All weights in bfloat16; tied ones are one tensor, as `save_pretrained` expects them."""
    states = model.state_dict(keep_vars=True)
    names = {id(each): name for name, each in states.items()}
    rounded = {
        name: each.detach().bfloat16() if each.is_floating_point() else each.detach()
        for name, each in states.items()
        if names[id(each)] == name
    }
    made = gathered(rounded, keep=keep)
    return {name: made[names[id(each)]] for name, each in states.items()} if keep else {}

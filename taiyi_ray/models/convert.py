"""Write a model of Qwen-7B's own architecture, as Taiyi 1 is one, in that of Qwen2, which vLLM has.

The two compute the same under other names; sources: modeling_qwen.py and tokenization_qwen.py of
Qwen-7B, modeling_qwen2.py of transformers. Only beyond `seq_length` tokens Qwen-7B scales queries
and positions, which Qwen2 does not: there the context of the converted model ends.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taiyi_ray.errors import ModelError
from taiyi_ray.models.folder import Model, put_folder, require, settings
from taiyi_ray.models.shipped import find

if TYPE_CHECKING:
    import torch

_TOKENS = "qwen.tiktoken"
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How the tokenizer of Qwen-7B splits a text before it looks for tokens."""
_END = "<|endoftext|>"
_SPECIAL = (_END, "<|im_start|>", "<|im_end|>", *(f"<|extra_{n}|>" for n in range(205)))
"""The special tokens, whose numbers follow those of the others."""

_NAMES = {
    "wte.weight": "embed_tokens.weight",
    "ln_f.weight": "norm.weight",
    "ln_1.weight": "input_layernorm.weight",
    "ln_2.weight": "post_attention_layernorm.weight",
    "attn.c_proj.weight": "self_attn.o_proj.weight",
    "mlp.w1.weight": "mlp.up_proj.weight",
    "mlp.w2.weight": "mlp.gate_proj.weight",
    "mlp.c_proj.weight": "mlp.down_proj.weight",
}
"""The weights that only have another name, below the model or a layer of it."""


def write_converted(model: str, folder: str) -> str:
    """Write a model of Qwen-7B's architecture in that of Qwen2 to a folder; return its address.

    Args:
        model: the model, as `find` takes it.
        folder: where the converted model comes, local or `s3://`. Files of the same names are
            replaced.

    Raises:
        ModelError: there is no such model, or it is of another architecture.
        StorageError: a store cannot be read or written.
    """
    found = find(model)
    config = _config(found)
    require(found.path, _TOKENS, "a model with the tokenizer of Qwen-7B")
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        _write_weights(found, made)
        config.save_pretrained(made)
        _tokenizer(found, config.max_position_embeddings).save_pretrained(made)
        return put_folder(made, folder)


def _config(model: Model) -> Any:
    from transformers import Qwen2Config

    about = settings(model, "config.json")
    if about.get("architectures") != ["QWenLMHeadModel"]:
        raise ModelError(
            f"model {model.name}: is {about.get('architectures') or 'of no known architecture'}; "
            "only QWenLMHeadModel, that of Qwen-7B and Taiyi 1, is converted"
        )
    heads = about["num_attention_heads"]
    same = {
        "kv_channels": about["hidden_size"] // heads,
        "rotary_pct": 1.0,
        "no_bias": True,
        "quantization_config": None,
    }
    for name, wanted in same.items():
        if about.get(name, wanted) != wanted:
            raise ModelError(
                f"model {model.name}: its {name} is {about[name]}, which Qwen2 does not have"
            )
    return Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=about["vocab_size"],
        hidden_size=about["hidden_size"],
        intermediate_size=about["intermediate_size"] // 2,
        num_hidden_layers=about["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=about["seq_length"],
        rms_norm_eps=about["layer_norm_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": float(about["rotary_emb_base"])},
        tie_word_embeddings=about.get("tie_word_embeddings", False),
        use_sliding_window=False,
        dtype="bfloat16",
        eos_token_id=len(_ranks(model)),
        bos_token_id=None,
    )


# -------------------------------------------------------------------------------------- the weights


def _write_weights(model: Model, folder: Path) -> None:
    """Write a file of converted weights for each file of the model, and the index of all."""
    from safetensors.torch import save_file

    files = [*sorted(model.path.glob("*.safetensors")), *sorted(model.path.glob("*.bin"))]
    if not files:
        raise ModelError(f"{model.path}: has no weights")
    where: dict[str, str] = {}
    size = 0
    for number, file in enumerate(files, 1):
        converted = {
            name: tensor.bfloat16().contiguous()
            for old, weights in _loaded(file).items()
            for name, tensor in _renamed(old, weights)
        }
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        save_file(converted, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(converted, name)
        size += sum(tensor.nbytes for tensor in converted.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def _loaded(file: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    if file.suffix == ".safetensors":
        return dict(load_file(file))
    loaded: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return loaded


def _renamed(name: str, weights: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """A tensor under its name in Qwen2; queries, keys and values are three there."""
    if name == "lm_head.weight":
        yield name, weights
        return
    below = name.removeprefix("transformer.")
    layer, inner = "", below
    if below.startswith("h."):
        _, number, inner = below.split(".", 2)
        layer = f"layers.{number}."
    if inner in _NAMES:
        yield f"model.{layer}{_NAMES[inner]}", weights
    elif inner.startswith("attn.c_attn."):
        kind = inner.rpartition(".")[2]
        for letter, part in zip("qkv", weights.chunk(3), strict=True):
            yield f"model.{layer}self_attn.{letter}_proj.{kind}", part
    elif not inner.endswith(("rotary_emb.inv_freq", "masked_bias", "attn.bias")):
        raise ModelError(f"the weights {name!r} are not those of Qwen-7B's architecture")


# ------------------------------------------------------------------------------------ the tokenizer


def _ranks(model: Model) -> dict[bytes, int]:
    """The tokens, of which those with the lowest numbers are joined first."""
    lines = (model.path / _TOKENS).read_bytes().splitlines()
    pairs = (line.split() for line in lines if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _tokenizer(model: Model, longest: int) -> Any:
    from tokenizers import normalizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    converter = TikTokenConverter(
        vocab_file=model, pattern=_SPLIT, extra_special_tokens=list(_SPECIAL)
    )
    converter.load_tiktoken_bpe = _ranks  # its own wants the package tiktoken
    made = converter.converted()
    made.normalizer = normalizers.NFC()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=_END,
        pad_token=_END,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
    )

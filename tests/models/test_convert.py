"""A small random model of Qwen-7B's architecture, and what it becomes."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from taiyi_ray import models
from taiyi_ray.errors import ModelError

HIDDEN, HEADS, LAYERS, WIDE = 32, 4, 2, 48
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = [" the", " aspirin", "eases", " pain", "阿司匹林", " 疼痛", "é", "'ll", "\n\n"]
TEXTS = [
    "<b> the aspirin eases pain 1234",
    "阿司匹林缓解 疼痛。\n\n  x",
    "Cafe\u0301 they'LL 5 mg\r\n",
    "",
    "spelt <|im_start|> stays text?",
]


def ranks() -> dict[bytes, int]:
    """All bytes, and the beginnings of some words, one sign longer each time."""
    made = {bytes([n]): n for n in range(256)}
    for word in WORDS:
        data = word.encode()
        for end in range(2, len(data) + 1):
            made.setdefault(data[:end], len(made))
    return made


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    size = len(ranks()) + 208

    def draw(*shape: int) -> torch.Tensor:
        return (torch.randn(shape) * 0.2).bfloat16()

    made = {
        "transformer.wte.weight": draw(size, HIDDEN),
        "transformer.ln_f.weight": 1 + draw(HIDDEN),
        "lm_head.weight": draw(size, HIDDEN),
        "transformer.rotary_emb.inv_freq": torch.zeros(4),
    }
    for layer in range(LAYERS):
        at = f"transformer.h.{layer}"
        made |= {
            f"{at}.ln_1.weight": 1 + draw(HIDDEN),
            f"{at}.attn.c_attn.weight": draw(3 * HIDDEN, HIDDEN),
            f"{at}.attn.c_attn.bias": draw(3 * HIDDEN),
            f"{at}.attn.c_proj.weight": draw(HIDDEN, HIDDEN),
            f"{at}.ln_2.weight": 1 + draw(HIDDEN),
            f"{at}.mlp.w1.weight": draw(WIDE, HIDDEN),
            f"{at}.mlp.w2.weight": draw(WIDE, HIDDEN),
            f"{at}.mlp.c_proj.weight": draw(HIDDEN, WIDE),
        }
    return made


def forward(given: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """What modeling_qwen.py of Qwen-7B computes, up to `seq_length` tokens."""
    at = {name.removeprefix("transformer."): each.float() for name, each in given.items()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * at[name]

    size = HIDDEN // HEADS
    angles = torch.outer(
        torch.arange(len(ids)).float(), 1 / 10000 ** (torch.arange(0, size, 2) / size)
    )
    cos, sin = (torch.cat((f(angles), f(angles)), -1)[:, None] for f in (torch.cos, torch.sin))

    def turned(x: torch.Tensor) -> torch.Tensor:
        one, other = x.chunk(2, -1)
        return x * cos + torch.cat((-other, one), -1) * sin

    x = at["wte.weight"][ids]
    for layer in range(LAYERS):
        h = f"h.{layer}."
        mixed = norm(x, h + "ln_1.weight") @ at[h + "attn.c_attn.weight"].T
        mixed = mixed + at[h + "attn.c_attn.bias"]
        q, k, v = (each.view(len(ids), HEADS, size) for each in mixed.split(HIDDEN, -1))
        scores = torch.einsum("qhd,khd->hqk", turned(q), turned(k)) / size**0.5
        seen = torch.ones(len(ids), len(ids)).tril().bool()
        shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        found = torch.einsum("hqk,khd->qhd", shares, v).reshape(len(ids), HIDDEN)
        x = x + found @ at[h + "attn.c_proj.weight"].T
        inner = norm(x, h + "ln_2.weight")
        gated = inner @ at[h + "mlp.w1.weight"].T * F.silu(inner @ at[h + "mlp.w2.weight"].T)
        x = x + gated @ at[h + "mlp.c_proj.weight"].T
    return norm(x, "ln_f.weight") @ at["lm_head.weight"].T


def written(folder: Path, *, old: bool = False, **more: Any) -> Path:
    """A model as Qwen-7B's files are; with `old`, weights of PyTorch's form."""
    folder.mkdir()
    config = {
        "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": HIDDEN,
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "intermediate_size": 2 * WIDE,
        "kv_channels": HIDDEN // HEADS, "layer_norm_epsilon": 1e-6, "no_bias": True,
        "rotary_emb_base": 10000, "rotary_pct": 1.0, "seq_length": 64, "use_logn_attn": True,
        "use_dynamic_ntk": True, "vocab_size": len(ranks()) + 208, "tie_word_embeddings": False,
        "auto_map": {"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
    } | more  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks().items()]
    (folder / "qwen.tiktoken").write_text("\n".join(lines))
    all_weights = weights()
    first = {name: all_weights.pop(name) for name in list(all_weights)[:7]}
    for number, part in enumerate((first, all_weights)):
        if old:
            torch.save(part, folder / f"pytorch_model-{number}.bin")
        else:
            save_file(part, folder / f"model-{number}.safetensors")
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["safetensors", "bin"])
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("convert")
    source = written(folder / "qwen", old=request.param)
    models.write_converted(str(source), str(folder / "qwen2"))
    return folder / "qwen2"


def test_the_converted_model_computes_what_the_model_computes(converted: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    ids = torch.randint(0, len(ranks()), (40,), generator=torch.Generator().manual_seed(1))
    found = model(input_ids=ids[None]).logits[0]
    wanted = forward(weights(), ids)
    assert wanted.std() > 0.5
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_converted_tokenizer_writes_the_tokens_of_the_tokenizer(converted: Path) -> None:
    model = models.find(str(converted))
    tokenizer = models.load_tokenizer(model)
    reference = tiktoken.Encoding(
        "qwen",
        pat_str=SPLIT,
        mergeable_ranks=ranks(),
        special_tokens={"<|endoftext|>": len(ranks())},
    )
    for text in TEXTS:
        wanted = reference.encode(unicodedata.normalize("NFC", text), disallowed_special=())
        assert tokenizer.encode(text, split_special_tokens=True) == wanted
        assert tokenizer.decode(wanted) == unicodedata.normalize("NFC", text)
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>", "<|extra_204|>"]) == [
        len(ranks()), len(ranks()) + 2, len(ranks()) + 207,
    ]  # fmt: skip
    assert models.context_length(model) == 64


def test_it_is_asked_in_the_form_of_taiyi_1(converted: Path) -> None:
    tokenizer = models.load_tokenizer(models.find(str(converted)))
    end = len(ranks())
    prompt = models.prompt_tokens(tokenizer, [{"role": "user", "content": "eases"}], "taiyi1")
    assert prompt[0] == prompt[-1] == end
    assert tokenizer.decode(prompt[1:-1]) == "eases"
    assert models.stop_token_ids(tokenizer, "taiyi1") == [end]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "only QWenLMHeadModel, that of Qwen-7B"),
        ({"rotary_pct": 0.5}, "its rotary_pct is 0.5, which Qwen2 does not have"),
        ({"quantization_config": {"bits": 4}}, "its quantization_config is"),
    ],
)
def test_another_model_is_refused_in_one_line(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    source = written(tmp_path / "qwen", **more)
    with pytest.raises(ModelError, match=message):
        models.write_converted(str(source), str(tmp_path / "to"))
    assert not (tmp_path / "to").exists()

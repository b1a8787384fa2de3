"""A small random model that can be trained, and instructions for it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taiyi_ray.train.packing import TokenRecord

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 320


def make_model(folder: Path, *, seed: int = 0) -> Path:
    """Write a Llama of two layers, and a tokenizer of bytes with ChatML's template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return _with_tokenizer(folder)


def make_qwen(folder: Path) -> Path:
    """Write a Qwen3 of two layers, with the same tokenizer and room for long rows."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return _with_tokenizer(folder)


def _with_tokenizer(folder: Path) -> Path:
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(["aspirin eases pain", "user assistant drugs none"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<|im_end|>", additional_special_tokens=special[:1]
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return folder


def instruction(
    number: int, question: str, *, dataset: str = "bc5cdr", length: int = 8
) -> dict[str, Any]:
    """One instruction about the document of this number, which it begins with."""
    words = random.Random(number).choices(["aspirin", "eases", "pain", "no", "drug"], k=length)
    answer = "; ".join(word for word in dict.fromkeys(words) if word in ("aspirin", question))
    return {
        "messages": [
            {"role": "user", "content": f"{' '.join(words)}. {question}?"},
            {"role": "assistant", "content": answer or "none"},
        ],
        "dataset": dataset,
        "task": "re" if question == "pain" else "ner",
        "group": f"{dataset}/{number}",
    }


def make_instructions(folder: Path, documents: int = 12, *, length: int = 8) -> Path:
    """Write what build-instructions writes: three questions a document, in two stages, and dev.

    Args:
        folder: where it is written.
        documents: how many there are in each folder.
        length: the words of a document.
    """
    for name, dataset, first in (
        ("stage1", "bc5cdr", 0),
        ("stage2", "cmeee", 90),
        ("dev", "d", 60),
    ):
        rows = [
            instruction(number, question, dataset=dataset, length=length)
            for number in range(first, first + documents)
            for question in ("drug", "pain", "no")
        ]
        path = folder / name / dataset / "train" / "000000000-000000499.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


def token_records(number: int = 10, *, seed: int = 0, branches: int = 3) -> list[TokenRecord]:
    """Random records, in groups that share their first tokens."""
    draw = np.random.default_rng(seed)
    made = []
    for at in range(number):
        if at % branches == 0:
            document = draw.integers(4, VOCABULARY, draw.integers(8, 20))
        tail = draw.integers(4, VOCABULARY, draw.integers(6, 12))
        ids = np.concatenate([document, tail]).astype(np.int64)
        answers = [(len(ids) - 4, len(ids))]
        if at % 4 == 0:  # a conversation of two turns
            answers.insert(0, (len(ids) - 8 + 2, len(ids) - 8 + 3))
        made.append(TokenRecord(ids, tuple(answers), at % 2, at // branches))
    return made

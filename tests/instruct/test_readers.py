"""Others read what a build wrote: TRL trains on it, LLaMA-Factory's description names its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny import make_model

CHAT = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_trl_trains_on_the_messages_and_on_prompts_with_completions(
    built: Path, tmp_path: Path
) -> None:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder = make_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.pad_token = tokenizer.eos_token = "[UNK]"
    rows = load_dataset(
        "parquet",
        data_files=str(built / "stage1/**/*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    for columns in (["messages"], ["prompt", "completion"]):
        config = SFTConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=1,
            per_device_train_batch_size=2,
            max_length=48,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder),
            args=config,
            train_dataset=rows.select_columns(columns),
            processing_class=tokenizer,
        )
        assert trainer.train().training_loss > 0


def test_the_description_for_llama_factory_names_the_folders(built: Path) -> None:
    described = json.loads((built / "dataset_info.json").read_text())
    assert {one["file_name"] for one in described.values()} == {"stage1", "dev"}
    for one in described.values():
        assert (built / one["file_name"]).is_dir()
        assert one["columns"] == {"messages": "messages"}

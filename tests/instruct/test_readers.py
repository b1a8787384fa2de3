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


def test_llama_factory_finds_the_files_of_every_folder_that_has_instructions(
    built: Path, tmp_path: Path
) -> None:
    from datasets import load_dataset

    described = json.loads((built / "dataset_info.json").read_text())
    assert {name: one["file_name"] for name, one in described.items()} == {
        "taiyi_dev_bc5cdr_dev": "dev/bc5cdr/dev",
        "taiyi_stage1_bc5cdr_train": "stage1/bc5cdr/train",
        "taiyi_stage1_ncbi_disease_train": "stage1/ncbi_disease/train",
    }, "nothing was drawn for dev/ncbi_disease/train"
    for one in described.values():
        # As its loader does: one listing of the folder, and all names have the ending of the first.
        files = [str(file) for file in (built / one["file_name"]).iterdir()]
        assert {Path(file).suffix for file in files} == {".parquet"}
        rows = load_dataset(
            "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
        )
        (messages,) = one["columns"].values()
        role, content = one["tags"]["role_tag"], one["tags"]["content_tag"]
        asked, answered = rows[0][messages]
        assert asked[role] == one["tags"]["user_tag"] and asked[content]
        assert answered[role] == one["tags"]["assistant_tag"] and answered[content]

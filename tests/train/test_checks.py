"""What the user has wrong is one line with exit code 2, and binds no output."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from taiyi_ray.cli import main
from taiyi_ray.config import TrainConfig, load
from taiyi_ray.errors import EXIT_CHANGE, ConfigError, ModelError, TaiyiError
from taiyi_ray.train import run
from tests.train.small import instruction, make_instructions, make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and instructions."""
    made = tmp_path_factory.mktemp("checks")
    make_model(made / "model")
    make_instructions(made / "data", documents=2)
    return made


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": str(folder / "data"),
        "output": str(tmp_path / "out"),
        "model": str(folder / "model"),
        "precision": "float32",
        "rank": 4,
        "row_tokens": 256,
        "max_steps": 1,
    }


def refused(settings: dict[str, Any], kind: type[TaiyiError], message: str) -> None:
    """Check that a run is refused in one line, and that the output is free for another one."""
    with pytest.raises(kind, match=message) as caught:
        run(TrainConfig(**settings))
    assert caught.value.exit_code == EXIT_CHANGE
    assert "\n" not in str(caught.value)
    assert not Path(settings["output"], "train.json").exists()
    assert not Path(settings["output"], "tokens").exists(), "nothing was tokenised for it"


def without_column(folder: Path, tmp_path: Path) -> Path:
    """Instructions whose second stage has a file without a column."""
    data = shutil.copytree(folder / "data", tmp_path / "data")
    rows = [{key: value for key, value in instruction(1, "no").items() if key != "task"}]
    (data / "stage2/other").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), data / "stage2/other/rows.parquet")
    return data


def test_missing_data_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["data"] = str(tmp_path / "nowhere")
    refused(settings, ConfigError, r"nowhere/stage1: holds no Parquet file")


def test_a_stage_trains_on_the_folders_that_are_there(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    """Corpora without questions and dialogues have no tasks of stage 2."""
    data = shutil.copytree(folder / "data", tmp_path / "data")
    shutil.rmtree(data / "stage2")
    settings["data"] = str(data)
    settings["stage_data"] = [
        {"data": data_, "epochs": 1} for data_ in (["stage1"], ["stage1", "stage2"])
    ]
    assert run(TrainConfig(**settings), dry_run=True) == 0
    refused(
        settings | {"stage_data": [{"data": ["stage2"], "epochs": 1}]},
        ConfigError,
        r"stage2: holds no",
    )
    misspelt = [{"data": ["stage1", "stge2"], "epochs": 1}]
    refused(settings | {"stage_data": misspelt}, ConfigError, r"stge2: holds no Parquet file")


def test_a_missing_dev_folder_is_refused_where_it_is_looked_at(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(folder / "data", tmp_path / "data")
    shutil.rmtree(data / "dev")
    settings["data"] = str(data)
    assert run(TrainConfig(**settings), dry_run=True) == 0
    refused(settings | {"eval_every": 1}, ConfigError, r"dev: holds no Parquet file")


def test_a_wrong_column_of_a_later_stage_is_refused_before_the_first_is_read(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    settings["data"] = str(without_column(folder, tmp_path))
    refused(settings, ConfigError, r"other/rows\.parquet: has no column 'task'")


def test_a_model_without_a_chat_template_is_refused(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    refused(settings | {"model": str(model)}, ModelError, "the model has no chat template")


def test_a_layer_that_the_model_does_not_have_is_refused_and_then_the_right_one_trains(
    settings: dict[str, Any],
) -> None:
    wrong = settings | {"targets": ["qproj"]}
    refused(wrong, ModelError, r"no linear layer 'qproj'; did you mean 'q_proj'")
    refused(wrong | {"workers": 2}, ModelError, "no linear layer 'qproj'")
    assert run(TrainConfig(**settings | {"targets": ["q_proj"], "stages": "1"})) == 0


def test_a_target_is_the_name_of_a_layer_or_its_end(settings: dict[str, Any]) -> None:
    wrong = settings | {"targets": ["layers.9.self_attn.q_proj"]}
    refused(wrong, ModelError, r"no linear layer 'layers\.9\.self_attn\.q_proj'")
    refused(settings | {"targets": ["proj"]}, ModelError, r"no linear layer 'proj'")
    dry = settings | {"targets": "layers.1.self_attn.q_proj"}  # as a list of one
    assert run(TrainConfig(**dry), dry_run=True) == 0
    with pytest.raises(ConfigError, match="targets: "):
        load(TrainConfig, None, settings | {"targets": []})


def test_an_adapter_on_the_weights_of_the_embeddings_is_refused(settings: dict[str, Any]) -> None:
    refused(settings | {"targets": ["lm_head"]}, ModelError, "shares its weights with the embeddin")


def test_a_model_without_weights_or_of_an_unknown_kind_is_refused(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(folder / "model", tmp_path / "model")
    settings["model"] = str(model)
    about = json.loads((model / "config.json").read_text())
    for kind, message in (("llamma", "`llamma`"), ("vit", "vit is no causal language model")):
        (model / "config.json").write_text(json.dumps(about | {"model_type": kind}))
        refused(settings, ModelError, f"its architecture cannot be trained .*{message}")
    (model / "config.json").write_text(json.dumps(about))
    (model / "model.safetensors").unlink()
    refused(settings, ModelError, "has no weights as safetensors")


def test_numbers_that_no_step_can_be_made_with_are_refused(settings: dict[str, Any]) -> None:
    for key, value in (("seed", 10**20), ("learning_rate", float("inf")), ("clip", float("nan"))):
        with pytest.raises(ConfigError, match=f"{key}: "):
            load(TrainConfig, None, settings | {key: value})


def test_layers_of_4_bits_or_in_parts_are_not_compiled(settings: dict[str, Any]) -> None:
    for more in ({"method": "qlora"}, {"fsdp": True, "workers": 2}):
        with pytest.raises(ConfigError, match="compile: is for method lora or full, without fsdp"):
            load(TrainConfig, None, settings | more | {"compile": True})


def test_data_that_nothing_can_be_trained_on_is_refused_with_the_reason(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    file = next((folder / "data").rglob("*.parquet"))
    refused(settings | {"data": str(file)}, ConfigError, "is a file; `data` is a folder")
    too_long = TrainConfig(**settings | {"row_tokens": 16})
    with pytest.raises(ConfigError, match=r"no instruction of stage1 can .*keeps longer ones"):
        run(too_long)
    (tmp_path / "data/stage1").mkdir(parents=True)
    rows = [instruction(1, "no") | {"messages": [{"role": "human", "content": "?"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data/stage1/rows.parquet")
    with pytest.raises(ConfigError, match=r"\(1 no conversation that the chat form allows\)$"):
        run(TrainConfig(**settings | {"data": str(tmp_path / "data"), "stages": "1"}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpu": "H10O"}, "'H10O' is no kind that is known here; did you mean 'H100'?"),
        ({"gpu": "of my own"}, None),
        ({"fsdp": True}, "fsdp: there are no workers"),
        ({"stages": "2"}, "stages: stage 2 begins with the model alone"),
        ({"stages": "single"}, None),
    ],
)
def test_what_is_hardly_meant_is_said(
    settings: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    given: dict[str, Any],
    said: str | None,
) -> None:
    assert run(TrainConfig(**settings | given), dry_run=True) == 0
    assert said in caplog.text if said else not caplog.text


def test_too_little_memory_is_refused(settings: dict[str, Any]) -> None:
    refused(settings | {"rank": 10**12}, ConfigError, "training takes about .* GB a worker")


def test_rows_longer_than_the_context_of_the_model_are_refused(settings: dict[str, Any]) -> None:
    settings["row_tokens"] = 513
    refused(settings, ConfigError, r"row_tokens: 513 is more than the 512 .* --row-tokens 512")


def test_an_output_of_a_corpus_job_is_refused(settings: dict[str, Any]) -> None:
    Path(settings["output"]).mkdir()
    Path(settings["output"], "job.json").write_text("{}")
    refused(settings, ConfigError, "is the output of a corpus job")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bacth": 3}, "unknown setting 'bacth'; did you mean 'batch'"),
        (
            {"stage_data": [{"data": ["stage1"], "epoch": 3}]},
            r"stage_data.0.epochs is missing; unknown setting 'stage_data.0.epoch'; did you mean "
            "'epochs'",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known(
    settings: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(TrainConfig, None, settings | given)


def test_the_command_says_it_in_one_line_with_exit_code_2(
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(json.dumps(settings))
    arguments = ["taiyi-ray", "train", str(config), "--row-tokens", "9999"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_CHANGE
    told = capsys.readouterr()
    assert told.err.startswith("taiyi-ray: row_tokens: 9,999 is more than the 512 tokens")
    assert told.err.count("\n") == 1 and not told.out


@pytest.mark.parametrize(
    ("capability", "precision", "workers", "said"),
    [
        ("AVX2", "bf16", "0", True),
        ("AVX2", "float32", "0", False),
        ("AVX2", "bf16", "2", False),
        ("AVX512", "bf16", "0", False),
    ],
)
def test_slow_bfloat16_is_said(
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capability: str,
    precision: str,
    workers: str,
    said: bool,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = TrainConfig(**settings | {"precision": precision, "workers": workers})
    assert run(config, dry_run=True) == 0
    assert ("--precision float32" in caplog.text) is said

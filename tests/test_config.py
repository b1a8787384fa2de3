"""The settings: from flags and a YAML file; every mistake named, all at once."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from taiyi_ray import storage
from taiyi_ray.config import AnnotateConfig, load
from taiyi_ray.errors import ConfigError

NEEDED = {"inputs": ["in"], "output": "out"}


def yaml_file(folder: Path, text: str) -> str:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def message(path: str | None, flags: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(AnnotateConfig, path, flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults():
    config = load(AnnotateConfig, None, NEEDED)
    assert (config.tasks, config.types, config.relations) == (None, None, None)
    assert (config.engine, config.grounding, config.limit) == ("vllm", "grammar", None)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = yaml_file(
        tmp_path, "inputs: [a, b]\noutput: out\nmax_tokens: 100\ntypes: [疾病]\nlimit: 5\n"
    )
    config = load(AnnotateConfig, path, {"limit": 7, "output": "there"})
    assert config.inputs == ["a", "b"]
    assert (config.output, config.limit) == ("there", 7)
    assert (config.max_tokens, config.types) == (100, ["疾病"])
    assert config.max_failed == 0.05


def test_a_config_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        load(AnnotateConfig, None, NEEDED).output = "elsewhere"


def test_all_problems_are_in_one_message(tmp_path):
    path = yaml_file(tmp_path, "max_token: 5\nengines: none\ngrounding: hope\n")
    assert message(path, {"limit": 0}) == (
        "engines: expected a number of engines, or MIN:MAX as in 1:8, got 'none'; "
        "grounding: Input should be 'grammar' or 'align', got 'hope'; "
        "inputs is missing; output is missing; "
        "limit: Input should be greater than or equal to 1, got 0; "
        "unknown setting 'max_token'; did you mean 'max_tokens'?"
    )


@pytest.mark.parametrize(
    ("setting", "value", "bad"),
    [
        ("limit", 0, True),
        ("limit", 1, False),
        ("engines", 0, True),
        ("context_limit", 255, True),
        ("context_limit", 256, False),
        ("max_tokens", 15, True),
        ("max_failed", 1.01, True),
        ("max_failed", 1, False),
        ("max_failed", -0.1, True),
        ("stall_minutes", 0, True),
        ("inputs", [], True),
        ("output", "", True),
        ("tasks", [], True),
        ("types", [], True),
        ("engine", "llama", True),
        ("chat", "taiyi2", True),
        ("engine_args", {"max_num_seqs": 8, "hf_overrides": {"a": [1, None]}}, False),
        ("engine_args", {"revision": object()}, True),
    ],
)
def test_bounds(setting, value, bad):
    flags = NEEDED | {setting: value}
    if bad:
        assert message(None, flags).startswith(setting)
    else:
        assert getattr(load(AnnotateConfig, None, flags), setting) == value


@pytest.mark.parametrize("setting", ["tasks", "types", "relations"])
@pytest.mark.parametrize("name", ["", " ", "a;b", "a；b", "a:b", "疾病：", "a\nb", "[a", "a]"])
def test_a_name_that_the_answers_could_not_hold(setting, name):
    assert message(None, NEEDED | {setting: ["gene", name]}) == (
        f"{setting}: a name must not be blank nor hold ; ； : ： [ ] or a line break, "
        f"as {name!r} does, got {['gene', name]!r}"
    )


@pytest.mark.parametrize("name", ["gene or protein", "药物", "chemical-induced disease", "β"])
def test_a_name_of_ones_own(name):
    assert load(AnnotateConfig, None, NEEDED | {"types": [name]}).types == [name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected keys and values, as in `tasks: [ner]`"),
        ("- ner\n", "expected keys and values, as in `tasks: [ner]`"),
        ("tasks: [ner\n", "not YAML in UTF-8: while parsing a flow sequence"),
        ("1: 2\n", "keywords must be strings"),
    ],
)
def test_a_file_that_holds_no_settings(tmp_path, text, expected):
    path = yaml_file(tmp_path, text)
    found = message(path, NEEDED)
    assert found.startswith(f"--config {path}: ")
    assert expected in found


def test_a_file_that_cannot_be_read(tmp_path):
    path = str(tmp_path / "no.yaml")
    assert message(path, NEEDED) == f"--config {path}: No such file or directory"
    (tmp_path / "no.yaml").write_bytes("types: [疾病]".encode("gb18030"))
    assert message(path, NEEDED).startswith(f"--config {path}: not YAML in UTF-8: ")


def test_settings_may_lie_in_s3(bucket):
    storage.put_if_absent(f"{bucket}/settings.yaml", "types: [疾病]".encode())
    assert load(AnnotateConfig, f"{bucket}/settings.yaml", NEEDED).types == ["疾病"]
    assert message(f"{bucket}/no.yaml", NEEDED) == f"--config {bucket}/no.yaml: no such file"


def test_settings_may_come_through_a_pipe():
    reading, writing = os.pipe()
    os.write(writing, b"types: [disease]")
    os.close(writing)
    assert load(AnnotateConfig, f"/dev/fd/{reading}", NEEDED).types == ["disease"]
    os.close(reading)


def test_a_value_that_json_does_not_have(tmp_path):
    path = yaml_file(tmp_path, "engine_args: {revision: !!set {a}}\n")
    assert "engine_args.revision" in message(path, NEEDED)
    quoted = yaml_file(tmp_path, "engine_args: {revision: '2024-01-01'}\n")
    assert load(AnnotateConfig, quoted, NEEDED).engine_args == {"revision": "2024-01-01"}


def test_every_setting_says_what_it_is():
    for name, field in AnnotateConfig.model_fields.items():
        assert field.description, name


def test_the_example_file_is_valid() -> None:
    path = Path(__file__).resolve().parents[1] / "examples" / "annotate.yaml"
    config = load(AnnotateConfig, str(path), {"output": "out"})
    assert config.tasks == ["ner"]
    assert config.engine_args == {"max_num_seqs": 64}


@pytest.mark.parametrize(
    ("given", "expected"), [(3, (3, 3)), ("3", (3, 3)), ("1:8", (1, 8)), ("2:2", (2, 2))]
)
def test_engines_are_a_number_or_a_range(given, expected):
    config = load(AnnotateConfig, None, {"inputs": ["a"], "output": "b", "engines": given})
    assert config.engine_range == expected
    assert load(AnnotateConfig, None, config.model_dump()).engine_range == expected


@pytest.mark.parametrize("given", [0, "0", "8:1", "1:", ":3", "many", -1, True, "1:2:3"])
def test_what_is_no_number_of_engines(given):
    with pytest.raises(ConfigError, match="engines"):
        load(AnnotateConfig, None, {"inputs": ["a"], "output": "b", "engines": given})


@pytest.mark.parametrize(
    "arguments",
    [
        {"hf_token": "hf_planted"},
        {"api_key": "hf_planted"},
        {"extra_body": {"messages": [{"Authorization": "hf_planted"}]}},
        {"extra_body": {"aws_secret_access_key": "hf_planted"}},
        {"password": "hf_planted"},
        {"TOKEN": "hf_planted"},
        {"hf_token": ["hf_planted"]},
        {"api_keys": [{"first": "hf_planted"}]},
        {"extra_body": {"headers": ["Authorization: Bearer hf_planted"]}},
        {"env": ["PATH=/bin", "HF_TOKEN=hf_planted"]},
        {"flags": ["--api-key=hf_planted"]},
        {"headers": [["X-Trace", "1"], ["X-Api-Key", "hf_planted"]]},
        {"headers": [{"name": "authorization", "value": "hf_planted"}]},
        {"proxies": ["http://me:hf_planted@proxy:3128"]},
    ],
)
def test_an_engine_argument_that_looks_like_a_secret_is_refused_and_not_shown(arguments):
    line = message(None, NEEDED | {"engine_args": arguments})
    assert "looks like a secret, which would be written into job.json" in line
    assert "hf_planted" not in line


def test_arguments_that_only_sound_like_it_are_none():
    arguments = {
        "max_num_batched_tokens": 4096,
        "long_prefill_token_threshold": 100,
        "tokenizer": "folder",
        "hf_token": None,
        "extra_body": {"skip_special_tokens": True, "cache_salt": "x", "keyword": "a"},
        "stop": ["Key points", "token", "password", "http://host:80/a@b", "a = b"],
        "logit_bias": [["word", 1]],
        "api_keys": [],
    }
    assert load(AnnotateConfig, None, NEEDED | {"engine_args": arguments}).engine_args == arguments


@pytest.mark.parametrize(
    "place",
    [
        {"inputs": ["s3://a:planted@bucket/in"]},
        {"output": "s3://a:planted@bucket"},
        {"engine": "http", "url": "https://me:planted@host/v1"},
    ],
)
def test_an_address_with_a_password_is_refused_and_not_shown(place):
    line = message(None, NEEDED | place)
    assert "the address holds a password" in line
    assert "planted" not in line
    assert load(AnnotateConfig, None, NEEDED | {"inputs": ["s3://bucket/a@b:c"]}).inputs == [
        "s3://bucket/a@b:c"
    ]


@pytest.mark.parametrize("setting", ["inputs", "output", "model", "task_file"])
def test_a_name_that_is_no_utf8_is_one_line(setting):
    name = os.fsdecode(b"caf\xe9")
    line = message(None, NEEDED | {setting: [name] if setting == "inputs" else name})
    assert line == f"{setting}: 'caf\\udce9' is no UTF-8; rename what it names"

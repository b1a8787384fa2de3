"""The settings: from flags and a YAML file; every mistake named, all at once."""

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from taiyi_ray import storage
from taiyi_ray.config import (
    RENAMED,
    AnnotateConfig,
    EngineSettings,
    InstructConfig,
    NotebookConfig,
    ServeConfig,
    Settings,
    TaskSettings,
    TrainConfig,
    completed,
    load,
    recorded,
)
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
        ("context_length", 255, True),
        ("context_length", 256, False),
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
        ("chat", "taiyi3", True),
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


def test_a_server_has_the_form_of_taiyi2_itself():
    flags = NEEDED | {"chat": "taiyi2"}
    assert load(AnnotateConfig, None, flags).chat == "taiyi2"
    asked = flags | {"engine": "http", "url": "http://host/v1"}
    assert "start it with that of Taiyi 2, and give --chat template here" in message(None, asked)


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


@pytest.mark.parametrize("kind", [AnnotateConfig, NotebookConfig, ServeConfig])
def test_every_setting_says_what_it_is(kind):
    for name, field in kind.model_fields.items():
        assert field.description, name


def test_a_command_composes_what_to_ask_and_what_answers():
    assert Settings.model_fields == {}
    assert not TaskSettings.model_fields.keys() & EngineSettings.model_fields.keys()
    both = TaskSettings.model_fields.keys() | EngineSettings.model_fields.keys()
    assert AnnotateConfig.model_fields.keys() > both
    assert NotebookConfig.model_fields.keys() > both
    assert ServeConfig.model_fields.keys() > EngineSettings.model_fields.keys()
    assert not issubclass(ServeConfig, TaskSettings)


def test_settings_without_an_engine_take_those_of_a_task_and_no_others():
    assert load(TaskSettings, None, {"types": ["disease"]}).types == ["disease"]
    with pytest.raises(ConfigError, match="unknown setting 'engine'"):
        load(TaskSettings, None, {"engine": "fake"})


def test_the_service_takes_adapters_by_name_and_none_that_is_merged():
    assert load(ServeConfig, None, {"adapters": {"ner": "lora"}}).adapter is None
    with pytest.raises(ConfigError, match="adapter: the service loads adapters beside the model"):
        load(ServeConfig, None, {"adapter": "lora"})


# ---------------------------------------------------------------------------------- old names


@pytest.mark.parametrize(
    ("kind", "old", "now"),
    [
        (AnnotateConfig, {"context_limit": 1000}, {"context_length": 1000}),
        (NotebookConfig, {"context_limit": 1000}, {"context_length": 1000}),
        (ServeConfig, {"max_in_flight": 7}, {"document_slots": 7}),
        (
            AnnotateConfig,
            {"engine_args": {"most_in_flight": 9, "timeout": 5}},
            {"engine_args": {"question_slots": 9, "timeout": 5}},
        ),
    ],
)
def test_a_setting_is_read_under_its_old_name_with_one_warning(tmp_path, caplog, kind, old, now):
    needed = NEEDED if kind is AnnotateConfig else {}
    expected = load(kind, None, needed | now)
    assert caplog.records == []
    path = yaml_file(tmp_path, json.dumps(old))
    for file, flags in [(None, old), (path, {})]:
        caplog.clear()
        assert load(kind, file, needed | flags) == expected
        (record,) = caplog.records
        assert (
            re.fullmatch(
                r"(\w+) is called (\w+) now; please use the new name", record.getMessage()
            ).groups()
            in RENAMED.items()
        )


def test_a_flag_wins_over_the_old_name_in_the_file_and_the_other_way_round(tmp_path):
    path = yaml_file(tmp_path, "context_limit: 1000\n")
    assert load(AnnotateConfig, path, NEEDED | {"context_length": 2000}).context_length == 2000
    path = yaml_file(tmp_path, "context_length: 1000\n")
    assert load(AnnotateConfig, path, NEEDED | {"context_limit": 2000}).context_length == 2000


def test_a_setting_under_both_of_its_names_is_refused():
    line = message(None, NEEDED | {"context_limit": 1000, "context_length": 2000})
    assert line == "context_limit is the old name of context_length; give only context_length"
    line = message(None, NEEDED | {"engine_args": {"most_in_flight": 1, "question_slots": 2}})
    assert line == "most_in_flight is the old name of question_slots; give only question_slots"


def test_files_hold_each_setting_under_the_name_that_it_had_first():
    config = load(AnnotateConfig, None, NEEDED | {"context_length": 1000})
    assert recorded(config)["context_limit"] == 1000
    assert recorded(config).keys() == config.model_dump().keys() - {"context_length"} | {
        "context_limit"
    }


def test_a_setting_that_an_output_was_begun_without_counts_as_its_default() -> None:
    now = InstructConfig(data_root="d", output="o", seed=3).model_dump(exclude={"output"})
    begun = {"data_root": "c", "seed": 4, "gone": True}
    assert completed(begun, now, InstructConfig) == {**now, **begun}
    del begun["data_root"]
    assert "data_root" not in completed(begun, now, InstructConfig), "it has no default"


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


def test_workers_of_a_training_are_a_number_or_a_range_and_none_where_this_process_trains() -> None:
    ranges = {0: (0, 0), "0": (0, 0), 3: (3, 3), "2:8": (2, 8)}
    for given, expected in ranges.items():
        assert TrainConfig(data="d", output="o", workers=given).worker_range == expected
    for wrong in ("0:2", "8:2", "-1", "many", True):
        with pytest.raises(ConfigError, match="workers"):
            load(TrainConfig, None, {"data": "d", "output": "o", "workers": wrong})


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
        {"task_file": "s3://a:planted@bucket/tasks.yaml"},
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
    assert line == f"{setting}: 'caf\\udce9' is not UTF-8; rename the file or folder"

"""Whole runs on one worker: stages, what is written, going on, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import load_file

from taiyi_ray import models, storage
from taiyi_ray.config import TrainConfig, load
from taiyi_ray.errors import ConfigError, ModelError
from taiyi_ray.tasks.template import SHORT_FORM, AskingForm
from taiyi_ray.train import checkpoints, run, stages, store
from taiyi_ray.train.checkpoints import Checkpoints
from tests.evaluate.made import corpora
from tests.train.small import instruction, make_instructions, make_model, make_qwen

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and instructions."""
    made = tmp_path_factory.mktemp("train")
    make_model(made / "model")
    make_instructions(made / "data")
    return made


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": str(folder / "data"),
        "output": str(tmp_path / "out"),
        "model": str(folder / "model"),
        "precision": "float32",
        "rank": 4,
        "batch": 9,
        "row_tokens": 256,
        "learning_rate": 5e-3,
        "warmup": 0.1,
        "checkpoint_every": 3,
        "stage_data": [
            {"data": ["stage1"], "epochs": 2},
            {"data": ["stage1", "stage2"], "epochs": 1},
        ],
    }


def weights(output: str) -> dict[str, torch.Tensor]:
    return load_file(Path(output) / "adapter" / "adapter_model.safetensors")


def record(output: str) -> dict[str, Any]:
    return json.loads((Path(output) / "run.json").read_text())


def test_two_stages_train_an_adapter_that_peft_reads_and_the_record_says_how(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig(**settings, eval_every=9)
    assert run(config) == 0
    out = config.output
    told = record(out)
    assert told["state"] == "done" and told["steps"] == told["step"] == 8 + 8
    assert [stage["records"] for stage in told["stages"]] == [36, 72]
    assert [(p["stage"], p["stage_step"]) for p in told["points"]] == [
        *((0, n) for n in range(1, 9)), *((1, n) for n in range(1, 9)),
    ]  # fmt: skip
    assert told["points"][7]["loss"] < told["points"][0]["loss"] * 0.8
    assert told["points"][8]["rate"] == settings["learning_rate"], "the warm-up begins anew"
    assert set(told["points"][0]["by_task"]) == {"ner", "re"}
    assert set(told["points"][8]["dev"]) == {"by_task", "by_dataset", "all"}
    assert [p["step"] for p in told["points"] if "dev" in p] == [9, 16], "and the last step"
    assert told["totals"]["records"] == 2 * 36 + 72
    assert 0.2 < told["totals"]["saved_by_sharing"] < 0.7
    merged = models.resolve(config.model, str(Path(out) / "adapter"))
    assert merged.path.is_dir()
    kept = Path(out) / "checkpoints"
    files = [path.relative_to(kept) for path in kept.rglob("*") if path.is_file()]
    assert {file.parts[0] for file in files} == {
        "000000015", "000000015.json", "000000016", "000000016.json",
    }  # fmt: skip
    capsys.readouterr()
    assert run(config) == 0
    assert capsys.readouterr().err == f"done before: {out}/adapter\n"
    shutil.rmtree(Path(out, "adapter"))
    assert run(config) == 0, "an adapter that is gone is written again from the last checkpoint"
    assert weights(out) and record(out)["totals"]["records"] == 2 * 36 + 72


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_names_the_form_of_its_instructions_and_what_trained_it_and_its_base(
    settings: dict[str, Any], folder: Path, tmp_path: Path, method: str
) -> None:
    base, data = tmp_path / "base", tmp_path / "data"
    shutil.copytree(folder / "model", base)
    shutil.copytree(folder / "data", data)
    models.write_asking_form(str(base), AskingForm(wording=2))
    few = settings | {"model": str(base), "data": str(data), "max_steps": 1, "method": method}
    trained = "adapter" if method == "lora" else "model"
    assert run(TrainConfig(**few)) == 0
    assert models.asking_form(f"{few['output']}/{trained}") is None
    models.write_asking_form(str(data), SHORT_FORM)
    models.write_trained_on(str(base), models.Trained.of({"base/train": np.array([1], np.uint64)}))
    models.write_trained_on(str(data), models.Trained.of({"data/train": np.array([2], np.uint64)}))
    again = few | {"output": str(tmp_path / "again")}
    assert run(TrainConfig(**again)) == 0
    assert models.asking_form(f"{again['output']}/{trained}") == SHORT_FORM
    known = models.trained_on(f"{again['output']}/{trained}")
    assert known is not None and known.having([1, 2]) == {"base/train", "data/train"}


def command(*words: str | Path) -> str:
    """Run `taiyi-ray` as a person does and return what it printed."""
    program = Path(sys.executable).with_name("taiyi-ray")
    done = subprocess.run(
        [program, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr


OTHER_WORDS = {
    "Naloxone": "Morphine", "Clonidine": "Labetalol", "hypotension": "bradycardia",
    "sedation": "insomnia", "reverses": "prevents", "helped": "failed",
}  # fmt: skip


@pytest.mark.slow  # Ray twice and a real engine: some four minutes
@pytest.mark.timeout(2400)
@pytest.mark.alone
def test_the_configuration_of_the_shipped_model_trains_another_base_from_corpora_to_scores(
    tmp_path: Path,
) -> None:
    model, root = make_qwen(tmp_path / "qwen3"), corpora(tmp_path / "corpora")
    # All splits of this corpus have one text; what a test set has too, trains nothing.
    for file in root.rglob("CDR_TrainingSet*"):
        text = file.read_text(encoding="utf-8")
        for word, other in OTHER_WORDS.items():
            assert len(word) == len(other), "offsets stay"
            text = text.replace(word, other)
        file.write_text(text, encoding="utf-8")
    data, trained = tmp_path / "instructions", tmp_path / "trained"
    command(
        *("build-instructions", "--config", "examples/demo-instructions.yaml"),
        *("--datasets", "bc5cdr", "--data-root", root, "--output", data),
    )
    command(
        *("train", "examples/train-demo.yaml", "--model", model, "--data", data),
        *("--output", trained, "--max-steps", "1"),
    )
    form = models.asking_form(str(trained / "adapter"))
    assert form is not None and form.headed and form.document_first
    merged = models.resolve(str(model), str(trained / "adapter"))
    assert models.asking_form(str(merged.path)) == form
    told = command(
        *("evaluate", "--benchmarks", "bc5cdr-chemical", "--data-root", root),
        *("--model", model, "--adapter", trained / "adapter", "--output", tmp_path / "scores"),
        *("--max-tokens", "16", "--context-length", "1024", "--max-failed", "1"),
    )
    assert "bc5cdr-chemical" in told
    (strict, _) = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert strict["documents"] == 6


class Killed(BaseException):
    """Ends a run as a kill would: nothing handles it."""


def killing(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[..., bool]
) -> None:
    """Kill the run when a function is called so; the function itself is not called."""
    real = getattr(owner, name)

    def act(*arguments: Any, **named: Any) -> Any:
        if when(*arguments, **named):
            raise Killed
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, act)


def test_a_run_that_was_killed_anywhere_ends_with_the_weights_of_an_undisturbed_one(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(TrainConfig(**settings)) == 0
    wanted = weights(settings["output"])
    kills = {
        "in mid-stage": (stages.Stepper, "step", lambda *_, **__: next(count) == 5),
        "at the border of the stages": (stages, "Stepper", lambda *_: next(count) == 1),
        "between the files and the marker": (
            storage, "put_if_absent", lambda path, *_, **__: "000000006.json" in path,
        ),
        "in mid-upload": (
            storage, "replace", lambda path, *_, **__: "000000009/" in path and "opt" in path,
        ),
        "before the adapter was written": (stages.network, "save", lambda *_, **__: True),
    }  # fmt: skip
    for number, (name, (owner, function, when)) in enumerate(kills.items()):
        count = iter(range(100))
        config = TrainConfig(**settings | {"output": str(tmp_path / str(number))})
        with monkeypatch.context() as patch:
            killing(patch, owner, function, when)
            with pytest.raises(Killed):
                run(config)
        assert run(config) == 0
        found = weights(config.output)
        for key, tensor in wanted.items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-6, msg=name)
        assert [p["step"] for p in record(config.output)["points"]] == list(range(1, 17))


def test_a_killed_run_with_data_and_output_in_a_bucket_learns_what_a_local_one_learns(
    settings: dict[str, Any], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "cache"))
    here = TrainConfig(**settings | {"stages": "1"})
    for file in Path(here.data).rglob("*.parquet"):
        name = str(file.relative_to(here.data))
        storage.replace(f"{bucket}/data/{name}", file.read_bytes())
    there = here.model_copy(update={"data": f"{bucket}/data", "output": f"{bucket}/out"})
    with monkeypatch.context() as patch:
        killing(patch, storage, "put_if_absent", lambda path, *_, **__: "000000006.json" in path)
        with pytest.raises(Killed):
            run(there)
    assert [run(here), run(there)] == [0, 0]
    for file in sorted(Path(here.output, "adapter").iterdir()):
        found = storage.read(f"{bucket}/out/adapter/{file.name}")
        if file.suffix == ".safetensors":
            for key, tensor in tensors_of(found or b"").items():
                torch.testing.assert_close(tensor, weights(here.output)[key], rtol=1e-5, atol=1e-6)
    kept = [stored.path.split("/")[5] for stored in storage.walk(f"{bucket}/out/checkpoints")]
    assert kept == [
        "000000006.json", *["000000006"] * (len(kept) - 5), "000000008.json", *["000000008"] * 3,
    ]  # fmt: skip


def test_a_checkpoint_whose_files_are_gone_is_not_used(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = TrainConfig(**settings)
    kept = Checkpoints(config.output, keep=5)
    for step in (1, 2, 3):
        kept.save(checkpoints.Position(step, 0, step), {"weights": lambda: b"w"})
    kept.close()
    (newest,) = (Path(config.output) / "checkpoints/000000003").glob("*/weights")
    newest.unlink()
    found = Checkpoints(config.output, keep=5).newest()
    assert found is not None and found.position.step == 2
    assert found.read("weights") == b"w"


def test_a_checkpoint_that_is_not_whole_takes_no_whole_one_away(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path), keep=1)
    kept.save(checkpoints.Position(9, 0, 9), {"weights": lambda: b"lost"})
    kept.wait()
    (lost,) = (tmp_path / "checkpoints/000000009").glob("*/weights")
    lost.unlink()
    (tmp_path / "checkpoints/.DS_Store").write_bytes(b"not ours")
    kept.save(checkpoints.Position(8, 0, 8), {"weights": lambda: b"w"})
    kept.close()
    found = Checkpoints(str(tmp_path), keep=1).newest()
    assert found is not None and found.read("weights") == b"w"


def test_no_step_is_missing_from_the_curves_of_a_run_that_went_on(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_POINTS", 3)  # a point is about 5 steps
    config = TrainConfig(**settings, eval_every=4)
    count = iter(range(100))
    with monkeypatch.context() as patch:
        killing(patch, stages.Stepper, "step", lambda *_, **__: next(count) == 13)
        with pytest.raises(Killed):
            run(config)
    assert run(config) == 0
    told = record(config.output)
    assert told["totals"]["records"] == 2 * 36 + 72
    assert [p["step"] for p in told["points"]] == [3, 4, 5, 6, 8, 9, 10, 12, 15, 16]
    assert [p["step"] for p in told["points"] if "dev" in p] == [4, 8, 12, 16]


def test_of_two_writers_of_a_step_the_first_wins(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        writer = Checkpoints(str(tmp_path), keep=1)
        writer.save(checkpoints.Position(4, 0, 4), {"weights": lambda text=text: text})
        writer.close()
    found = Checkpoints(str(tmp_path), keep=1).newest()
    assert found is not None and found.read("weights") == b"one"


def test_other_settings_or_data_are_refused_with_the_difference(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**settings | {"max_steps": 1, "stages": "1"})
    assert run(config) == 0
    with pytest.raises(ConfigError, match=r"settings.batch was 9 and is 8"):
        run(config.model_copy(update={"batch": 8}))
    assert run(config.model_copy(update={"checkpoint_every": 7, "prefix_sharing": False})) == 0
    make_instructions(tmp_path / "other", documents=3)
    with pytest.raises(ConfigError, match=r"data\[1\].stage1/bc5cdr.* was .* and is "):
        run(config.model_copy(update={"data": str(tmp_path / "other")}))


def test_a_loss_that_is_no_number_ends_the_run_before_its_checkpoint(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(-1, 100))  # the first call is the check of the model
    real = stages.Stepper.losses

    def poisoned(self: Any, arrays: Any) -> torch.Tensor:
        losses = real(self, arrays)
        return losses * float("nan") if next(count) == 4 else losses

    monkeypatch.setattr(stages.Stepper, "losses", poisoned)
    config = TrainConfig(**settings | {"checkpoint_every": 1, "row_tokens": 512})
    with pytest.raises(ModelError, match=r"step 5 \(stage 1, step 5\): the loss is nan"):
        run(config)
    found = Checkpoints(config.output, keep=2).newest()
    assert found is not None and found.position.step == 4


def test_weights_that_are_no_numbers_end_the_run_before_their_checkpoint(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.optim.AdamW.step
    count = iter(range(100))

    def too_far(self: Any) -> None:
        real(self)
        if next(count) == 2:
            weights = self.param_groups[0]["params"][0]
            weights.data[0] = float("inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", too_far)
    config = TrainConfig(**settings | {"checkpoint_every": 1})
    with pytest.raises(ModelError, match=r"step 3 .*: weights are no numbers any more"):
        run(config)
    found = Checkpoints(config.output, keep=2).newest()
    assert found is not None and found.position.step == 2


def test_all_weights_can_be_trained_and_the_model_is_whole(settings: dict[str, Any]) -> None:
    config = TrainConfig(**settings | {"method": "full", "stages": "single", "max_steps": 3})
    assert run(config) == 0
    model = models.resolve(f"{config.output}/model")
    assert models.load_tokenizer(model).chat_template
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(model.path)
    assert whole.dtype == torch.bfloat16
    assert whole.config.use_cache, "as its base: without a cache it would answer slowly"


def test_a_trained_adapter_and_its_merged_model_answer_alike_in_plain_peft_and_transformers(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "cache"))
    config = TrainConfig(**settings | {"stages": "1", "learning_rate": 0.03})
    assert run(config) == 0
    adapter = f"{config.output}/adapter"
    merged = models.write_merged(config.model, adapter, str(tmp_path / "merged"))
    base = AutoModelForCausalLM.from_pretrained(config.model)
    tokens = models.load_tokenizer(models.resolve(merged))("aspirin eases", return_tensors="pt")
    with torch.no_grad():
        untrained = base(**tokens).logits
        wanted = PeftModel.from_pretrained(base, adapter)(**tokens).logits
        found = AutoModelForCausalLM.from_pretrained(merged)(**tokens).logits.float()
    trained = (wanted - untrained).abs().max()
    assert (found - wanted).abs().max() < 0.1 * trained, "the rest is bfloat16's rounding"


def test_a_second_stage_starts_from_the_adapter_of_the_first(
    settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = TrainConfig(**settings)
    first = TrainConfig(**settings | {"stages": "1", "output": str(tmp_path / "1")})
    second = TrainConfig(
        **settings
        | {"stages": 2, "output": str(tmp_path / "2"), "adapter": str(tmp_path / "1/adapter")}
    )
    assert [run(each) for each in (whole, first, second)] == [0, 0, 0]
    found = weights(second.output)
    for key, tensor in weights(whole.output).items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-6)
    assert "count instead" not in caplog.text
    other = {"output": str(tmp_path / "3"), "rank": 8, "max_steps": 1}
    assert run(second.model_copy(update=other)) == 0
    assert "has rank 4, alpha 32, dropout 0 and rslora False, which count instead" in caplog.text


def test_records_that_are_too_long_are_left_out_and_counted(settings: dict[str, Any]) -> None:
    config = TrainConfig(**settings | {"row_tokens": 33, "max_steps": 1, "stages": "1"})
    assert run(config) == 0
    (stage,) = record(config.output)["stages"]
    assert stage["left_out"]["longer than row_tokens"] + stage["records"] == 36
    with pytest.raises(ConfigError, match=r"no instruction of stage1 can be trained \(36 longer"):
        run(config.model_copy(update={"row_tokens": 16}))


def test_what_is_wrong_with_data_or_model_is_one_line_before_anything_is_written(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = TrainConfig(**settings | {"stages": "1"})
    with pytest.raises(ConfigError, match="stage1: holds no Parquet file"):
        run(config.model_copy(update={"data": str(tmp_path)}))
    path = tmp_path / "wrong/stage1/rows.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(ConfigError, match="has no column 'messages'"):
        run(config.model_copy(update={"data": str(tmp_path / "wrong")}))
    with pytest.raises(ConfigError, match="unknown setting 'bacth'; did you mean 'batch'"):
        load(TrainConfig, None, {**settings, "bacth": 3})
    assert not Path(config.output).exists()


def test_a_turn_without_text_is_left_out_and_messages_of_another_form_are_refused(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    good = instruction(1, "pain")
    null = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]
    for name, rows in {
        "null": [good | {"group": 7}, good | {"group": 7, "messages": null}],
        "other": [good | {"messages": [{"from": "human", "value": "a"}]}],
    }.items():
        path = tmp_path / name / "stage1/rows.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    config = TrainConfig(**settings | {"stages": "1", "data": str(tmp_path / "null")})
    assert run(config) == 0
    (stage,) = record(config.output)["stages"]
    assert (stage["records"], stage["left_out"]) == (1, {store.UNSPELLABLE: 1})
    with pytest.raises(ConfigError, match="the column 'messages' is no list of `role`"):
        run(config.model_copy(update={"data": str(tmp_path / "other")}))


def test_damaged_data_weights_or_templates_are_one_line(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    (whole,) = (folder / "data/stage1").rglob("*.parquet")
    path = tmp_path / "damaged/stage1/rows.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(whole.read_bytes()[:100] + b"\xff" * 200 + whole.read_bytes()[300:])
    with pytest.raises(ConfigError, match=r"rows\.parquet: is damaged"):
        run(TrainConfig(**settings | {"stages": "1", "data": str(tmp_path / "damaged")}))
    for name, wrong, message in (
        ("model.safetensors", "x" * 50, "model.safetensors: is not whole"),
        ("chat_template.jinja", "{{ raise_exception('no') }}", "refuses a question"),
    ):
        model = shutil.copytree(folder / "model", tmp_path / name)
        (model / name).write_text(wrong)
        with pytest.raises(ModelError, match=message):
            run(TrainConfig(**settings | {"model": str(model)}))


def test_data_that_was_moved_is_the_same_data(folder: Path, tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(models.resolve(str(folder / "model")))
    digests = set()
    for name in ("here", "there"):
        path = tmp_path / name / "stage1/rows.parquet"
        path.parent.mkdir(parents=True)
        rows = [instruction(1, "pain"), instruction(2, "no") | {"group": None}]
        pq.write_table(pa.Table.from_pylist(rows), path)
        tokens = str(tmp_path / f"tokens of {name}")
        (unit,) = store.build(str(tmp_path / name), ["stage1"], tokens, tokenizer, "template")
        digests.add(unit.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("remote", [False, True])
def test_tokens_that_were_made_again_from_other_data_are_not_trained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    tokenizer = models.load_tokenizer(models.resolve(str(folder / "model")))
    make_instructions(tmp_path / "other", documents=3)
    tokens = str(tmp_path / "tokens")
    units = store.build(str(folder / "data"), ["stage1"], tokens, tokenizer, "template")
    assert len(store.TokenStore(units, 256)) == 36
    store.build(str(tmp_path / "other"), ["stage1"], tokens, tokenizer, "template")
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "cache"))
    if remote:
        monkeypatch.setattr(storage, "is_local", lambda _: False)
    with pytest.raises(ConfigError, match=r"\.arrow: was made again from other instructions"):
        store.TokenStore(units, 256)
    assert not list((tmp_path / "cache").rglob("unit.arrow"))


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig(**settings)
    assert run(config, dry_run=True) == 0
    told = capsys.readouterr().err
    assert "stage 1: 36 records" in told and "2 epochs, 8 steps" in told
    assert not Path(config.output).exists()


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_preset_gives_every_setting_that_is_not_given(preset: str) -> None:
    config = TrainConfig(data="d", output="o", preset=preset)
    assert [stage.epochs for stage in config.stages_to_train] == [5, 3]
    assert TrainConfig(data="d", output="o", preset=preset, rank=3).rank == 3
    assert config.model_copy(update={"stages": "single"}).stages_to_train[0].data == [
        "stage1", "stage2",
    ]  # fmt: skip


def test_the_embedded_model_learns_answers_in_two_stages(
    tmp_path: Path, embedded: models.Model
) -> None:
    make_instructions(tmp_path / "data", documents=2)
    config = TrainConfig(
        data=str(tmp_path / "data"), output=str(tmp_path / "out"), rank=8, batch=6, max_steps=3,
        learning_rate=2e-3, row_tokens=512, warmup=0,
    )  # fmt: skip
    assert run(config) == 0
    (unit,) = (tmp_path / "out/tokens").glob("*/stage1/**/*.arrow")
    about = store._about(str(unit))
    assert about is not None
    kept = store.TokenStore(
        [store.Unit("a", str(unit), about["records"], about["digest"], {})], 512
    )
    tokenizer = models.load_tokenizer(embedded)
    for number in range(len(kept)):
        learned = kept.record(number)
        ((start, end),) = learned.answers
        question = instruction(number // 3, ("drug", "pain", "no")[number % 3])["messages"]
        assert tokenizer.decode(learned.ids[start:end]) == question[1]["content"] + "<|im_end|>"
        prompt = models.prompt_tokens(tokenizer, question[:1])
        assert learned.ids[:start].tolist() == prompt, "as it is asked in production"
    points = record(config.output)["points"]
    losses = [point["loss"] for point in points]
    assert [point["stage"] for point in points] == [0, 0, 0, 1, 1, 1]
    assert losses[2] < losses[0] / 4
    assert max(losses[3:]) < losses[0] / 2, "stage 2 goes on from what stage 1 learned"

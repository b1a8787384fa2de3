"""The estimate: exact where it counts, a range that holds the truth where it samples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray import models
from taiyi_ray.config import AnnotateConfig, load
from taiyi_ray.corpus.output import Totals
from taiyi_ray.engine.engine import of_tokens
from taiyi_ray.engine.prepare import asking_form
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import documents, format_of
from taiyi_ray.job import estimate as module
from taiyi_ray.job.estimate import Estimate, estimate
from taiyi_ray.placement import GPUS, Gpu
from taiyi_ray.tasks import assigned
from tests.job.jobs import corpus

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples/pubmed-sample.xml"


def settings(*inputs: Path | str, **values: Any) -> AnnotateConfig:
    return load(
        AnnotateConfig, None, {"inputs": [str(path) for path in inputs], "output": "-", **values}
    )


def run_file(path: Path, *tasks: str, seconds: float = 100, gpu: str | None = None) -> str:
    """A run that wrote answers of 20 and 40 tokens, for each task, and nothing of prompts."""
    answer = {"prompt_tokens": 0, "cached_tokens": 0, "attempt": 0, "error": None}
    row: dict[str, Any] = {
        "status": "ok", "mentions": [], "relations": [], "errors": [],
        "events": [], "labels": [], "texts": [],
        "answers": [
            {**answer, "task": task, "output_tokens": length}
            for task in tasks or ("ner", "re") for length in (20, 40)
        ],
    }  # fmt: skip
    totals = Totals.of([row] * 50)
    values = {
        "prompt_tokens": 1_000_000 - totals.tokens["output_tokens"],
        "output_tokens": totals.tokens["output_tokens"],
        "engine_seconds": seconds,
        "totals": totals.as_dict(),
        "config": {"gpu": gpu},
    }
    path.write_text(json.dumps(values))
    return str(path)


def value(found: Estimate, name: str) -> float:
    return found.totals[name].value


def test_a_small_corpus_is_counted_and_its_prompts_are_the_jobs_own(tokenizer):
    config = settings(SAMPLE, ask="together")
    found = estimate(config)
    assert (found.files, found.scanned, found.sampled) == (1, 1, 30)
    form = asking_form(config)
    assignments = [assignment.in_form(form) for assignment in assigned(config)[0]]
    format_ = format_of(str(SAMPLE))
    assert format_ is not None
    with SAMPLE.open("rb") as stream:
        read = list(documents(stream, str(SAMPLE), format_, "s", 0, 29))
    questions = [q for d in read for one in assignments for q in one.questions(d)]
    prompter = models.Prompter(tokenizer)
    prompts = [of_tokens(prompter, question).tokens for question in questions]
    assert found.totals["documents"] == module.Quantity(30, 30, 30)
    for name, exact in (("questions", len(questions)), ("prompt_tokens", sum(prompts))):
        quantity = found.totals[name]
        assert quantity.low == quantity.high == quantity.value == pytest.approx(exact)
    assert "engine_hours" not in found.totals
    assert any(line.startswith("engine-hours: not estimated") for line in found.basis)


def test_questions_on_one_document_share_its_text():
    apart = estimate(settings(SAMPLE, tasks=["ner"]))
    together = estimate(settings(SAMPLE, tasks=["ner"], ask="together"))
    assert value(apart, "cached_tokens") > 0.6 * value(apart, "prompt_tokens")
    assert 0 < value(together, "cached_tokens") < 0.5 * value(together, "prompt_tokens")


def test_a_corpus_of_many_files_is_sampled_and_the_range_holds_the_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 48)
    for number in range(40):
        corpus(tmp_path / f"{number:02d}.jsonl", 20 + number, words=30 + 7 * (number % 9))
    config = settings(tmp_path, tasks=["re"])
    found = estimate(config)
    assert (found.files, found.scanned, found.sampled) == (40, 12, 48)
    monkeypatch.setattr(module, "SAMPLE", 2000)
    monkeypatch.setattr(module, "_SOURCES", 40)
    monkeypatch.setattr(module, "_DRAWS", 40)
    truth = estimate(config)
    assert truth.scanned == 40
    assert truth.totals["documents"] == module.Quantity(1580, 1580, 1580)
    for name in ("documents", "questions", "prompt_tokens"):
        quantity = found.totals[name]
        assert quantity.low < value(truth, name) < quantity.high, name
        assert quantity.low < quantity.value < quantity.high
        assert quantity.high - quantity.low < quantity.value
    assert any(
        "12 of 40 files, estimated for the others by their bytes" in line for line in found.basis
    )


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_large_file_only_the_beginning_is_scanned(tmp_path, monkeypatch, packed):
    source = corpus(tmp_path / "docs.jsonl", 4000)
    if packed:
        source = tmp_path / "docs.jsonl.gz"
        source.write_bytes(gzip.compress((tmp_path / "docs.jsonl").read_bytes()))
    monkeypatch.setattr(module, "_BYTES", source.stat().st_size // 5)
    found = estimate(settings(source, tasks=["re"]))
    assert value(found, "documents") == pytest.approx(4000, rel=0.05)
    assert value(found, "documents") != 4000
    assert any("one file was scanned" in line for line in found.basis)


def test_the_same_seed_gives_the_same_estimate(tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 500)
    config = settings(source, tasks=["re"])
    one, other = (estimate(config.model_copy(update={"gpu": "L4"}), seed=3) for _ in range(2))
    assert one == other
    assert estimate(config.model_copy(update={"gpu": "L4"}), seed=4) != one


def test_a_limit_is_the_most_that_is_estimated(tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 200)
    whole = estimate(settings(source, tasks=["re"]))
    found = estimate(settings(source, tasks=["re"], limit=50))
    assert value(found, "documents") == 50
    assert value(found, "prompt_tokens") == pytest.approx(value(whole, "prompt_tokens") / 4)


def test_runs_give_answers_and_rates(tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 100)
    config = settings(source, ask="together", price=2.0)
    run = run_file(tmp_path / "run.json")
    found = estimate(config, runs=[run])
    answers = found.totals["output_tokens"]
    assert answers.value == pytest.approx(30 * value(found, "questions"))
    # 100 answers of 20 and 40: the standard error of their mean is 1.
    assert answers.low == pytest.approx(answers.value * (1 - 1.4 / 30), rel=0.02)
    tokens = value(found, "prompt_tokens") + answers.value
    hours = tokens * 100 / 1_000_000 / 3600
    assert value(found, "engine_hours") == pytest.approx(hours)
    assert value(found, "cost") == pytest.approx(2 * hours)
    assert any("one run is given" in line for line in found.basis)
    assert not any("ASSUMED" in line for line in found.basis)
    slower = run_file(tmp_path / "slower.json", seconds=300)
    both = estimate(config, runs=[run, slower]).totals["engine_hours"]
    assert both.value == pytest.approx(2 * hours)
    assert both.low < 1.1 * hours < 2.8 * hours < both.high
    (tmp_path / "out").mkdir()
    run_file(tmp_path / "out/run.json")
    assert estimate(config, runs=[str(tmp_path / "out")]).totals == found.totals


def test_runs_tell_how_often_relations_are_asked_about(tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 60)
    config = settings(source, ask="together")
    most = estimate(config)
    assert value(most, "questions") == pytest.approx(120)
    assert any(line.startswith("questions of re: at most so many") for line in most.basis)
    run = run_file(tmp_path / "run.json", "ner", "ner", "ner", "ner", "re")
    found = estimate(config, runs=[run])
    assert value(found, "questions") == pytest.approx(60 + 60 / 4)
    alone = estimate(settings(source, tasks=["ner"], ask="together"))
    of_re = value(most, "prompt_tokens") - value(alone, "prompt_tokens")
    rest = value(found, "prompt_tokens") - value(alone, "prompt_tokens")
    assert rest == pytest.approx(of_re / 4)
    assert any(line.startswith("questions of re: as many for each of ner") for line in found.basis)
    # Without ner in the run, relations are asked between any words.
    other = estimate(settings(source, tasks=["re"]), runs=[run])
    assert value(other, "questions") == pytest.approx(60)


def test_what_is_assumed_is_said_and_wide(tmp_path, monkeypatch):
    source = corpus(tmp_path / "docs.jsonl", 100)
    found = estimate(settings(source, tasks=["re"], gpu="L40S"))
    assumed = [line for line in found.basis if "ASSUMED" in line]
    assert [line.partition(":")[0] for line in assumed] == ["output tokens of re", "rate"]
    for name in ("output_tokens", "engine_hours"):
        assert found.totals[name].high > 2 * found.totals[name].low
    monkeypatch.setattr(models, "weights_size", lambda _: 16 * 10**9)
    hours = [value(estimate(settings(source, gpu=gpu)), "engine_hours") for gpu in ("L4", "H100")]
    assert hours[0] > 4 * hours[1]


def test_a_small_model_waits_for_the_process_in_front_of_its_engine(tmp_path, monkeypatch):
    source = corpus(tmp_path / "docs.jsonl", 100)
    found = estimate(settings(source, gpu="H200"))
    least = value(found, "questions") * module.HOST.value / 3600
    assert value(found, "engine_hours") == pytest.approx(least)
    monkeypatch.setattr(models, "weights_size", lambda _: 64 * 10**9)
    assert value(estimate(settings(source, gpu="H200")), "engine_hours") > 2 * least


def test_engines_that_share_a_gpu_share_its_speed_but_not_one_process(tmp_path, monkeypatch):
    source = corpus(tmp_path / "docs.jsonl", 100)

    def hours(utilisation: float) -> float:
        args = {"gpu_memory_utilization": utilisation}
        return value(estimate(settings(source, gpu="H200", engine_args=args)), "engine_hours")

    assert hours(0.45) == hours(0.9)  # each has a process of its own, which bounds it
    monkeypatch.setattr(models, "weights_size", lambda _: 30 * 10**9)
    assert hours(0.45) == pytest.approx(2 * hours(0.9))


def test_a_run_on_another_device_tells_answers_and_no_rate(tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 100)
    config = settings(source, ask="together", gpu="L40S")
    found = estimate(config, runs=[run_file(tmp_path / "laptop.json")])
    assert value(found, "output_tokens") == pytest.approx(30 * value(found, "questions"))
    assert value(found, "engine_hours") == value(estimate(config), "engine_hours")
    assert any(line.startswith("rate: no run was with --gpu L40S") for line in found.basis)
    on_it = estimate(config, runs=[run_file(tmp_path / "gpu.json", gpu="L40S")])
    assert not any("ASSUMED" in line for line in on_it.basis)


def test_records_that_cannot_be_read_ask_nothing(tmp_path):
    source = tmp_path / "bad.jsonl"
    source.write_text("not json\n" * 10 + '{"document_id": "a", "text": "Aspirin helps."}\n')
    found = estimate(settings(source, tasks=["re"]))
    assert value(found, "documents") == 11
    assert value(found, "questions") == pytest.approx(1)


def test_what_cannot_be_used_is_refused(tmp_path, monkeypatch):
    source = corpus(tmp_path / "docs.jsonl", 5)
    config = settings(source)
    with pytest.raises(ConfigError, match=r"^--gpu L4s: unknown; did you mean 'L4"):
        estimate(settings(source, gpu="L4s"))
    for text in ("", "[]", "{}"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ConfigError, match=r"^--run .*run\.json: is not the record of a run"):
            estimate(config, runs=[str(tmp_path / "run.json")])
    monkeypatch.setitem(GPUS, "tiny", Gpu(1e8, 1e9, 1e12, "a test"))
    with pytest.raises(ConfigError, match=r"^--gpu tiny: taiyi-demo does not fit"):
        estimate(settings(source, gpu="tiny"))


def test_the_command_shows_figures_ranges_and_where_they_come_from(tmp_path, capsys, monkeypatch):
    import sys

    from taiyi_ray import cli

    source = corpus(tmp_path / "docs.jsonl", 30)
    shown = ("plan", str(source), "--tasks", "re", "--gpu", "L4", "--price", "0.8")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "argv", ["taiyi-ray", *shown])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 files, 0.0 MB; 1 of them scanned, 30 documents asked about")
    names = [line.partition("  ")[0] for line in lines]
    for name in ("documents", "prompt tokens", "output tokens", "engine hours", "cost"):
        assert name in names
    monkeypatch.setattr(sys, "argv", ["taiyi-ray", *shown, "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["totals"]["documents"]["value"] == 30

"""An evaluation is a corpus job: it goes on, grows, and writes its scores by the contract."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from taiyi_ray.config import DEFAULT_MODEL, SHIPPED_MODELS
from taiyi_ray.engine import ENGINES
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate import evaluation, run
from taiyi_ray.evaluate.benchmark import benchmarks
from taiyi_ray.evaluate.evaluation import (
    _best_thresholds,
    _leaks,
    _read_again,
    _readings,
    _sources,
    _thresholds,
)
from taiyi_ray.evaluate.scoring import BenchmarkScores, score
from taiyi_ray.job import planning
from taiyi_ray.job.asks import Asks
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.status import Progress
from taiyi_ray.records import Annotations, Mention
from taiyi_ray.states import watch
from tests.engine.served import Played, completion, obedient
from tests.evaluate.made import answered, corpora, settings, source
from tests.job.jobs import content, table, unit_files

# Ray's own settings warn of themselves when a process that shows warnings imports it.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CONTRACT = ("benchmark", "metric", "value", "low", "high", "documents", "ceiling", "published")


@pytest.fixture
def root(tmp_path):
    return corpora(tmp_path / "corpora")


def scores(output: Path) -> dict[tuple[str, str], dict]:
    found = json.loads((output / "scores.json").read_text())
    assert all(list(record)[: len(CONTRACT)] == list(CONTRACT) for record in found)
    return {(record["benchmark"], record["metric"]): record for record in found}


def test_an_evaluation_says_what_of_a_split_trained_the_model() -> None:
    unknown = BenchmarkScores(benchmarks()["bc5cdr-chemical"], "test")
    assert _leaks([unknown]) == []
    known = replace(unknown, trained=0)
    assert _leaks([known]) == [
        "no document of these splits trained this model, by text and PubMed identifier"
    ]
    (note,) = _leaks([replace(known, trained=3), unknown])
    assert note.startswith("note: bc5cdr-chemical: 3 documents of its test split trained")


def test_an_evaluation_goes_on_with_the_shipped_model_that_it_was_begun_with(
    root, tmp_path, capsys
):
    another = next(name for name in SHIPPED_MODELS if name != DEFAULT_MODEL)
    config = settings(root, tmp_path / "out", "bc5cdr-chemical")
    asked = source(root, "bc5cdr-chemical")
    older = config.model_copy(update={"model": another}).as_job([asked.address])
    assert older.model == another
    asks = Asks(older, ENGINES["fake"].probe(older), [], [asked])
    planning.planned(older, JobOutput(older.output), asks, [asked], write=True)
    assert run(config, dry_run=True) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == another
    assert f"note: this output was begun with the model {another} and goes on" in err
    assert err.count("note: this output") == 1


def test_what_nobody_set_of_an_evaluation_nobody_set_of_its_job(root, tmp_path):
    job = settings(root, tmp_path / "out", max_tokens=64).as_job(["in"])
    assert "model" not in job.model_fields_set and "max_tokens" in job.model_fields_set


def test_an_evaluation_grows_by_a_benchmark_and_asks_nothing_twice(joined, root, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(settings(root, output, "bc5cdr-chemical", limit=2, scores=True)) == 0
    first = {path: path.read_bytes() for path in unit_files(output)}
    before = scores(output)
    assert {key: record["documents"] for key, record in before.items()} == {
        ("bc5cdr-chemical", "strict_f1"): 2,
        ("bc5cdr-chemical", "string_f1"): 2,
    }
    report = (output / "report.html").read_text()
    assert "taiyi_ray evaluation report" in report
    assert [row["document_id"] for row in table(output)] == ["100", "101"]

    # The same records are asked something else; the earlier benchmark is scored again, not asked.
    assert run(settings(root, output, "bc5cdr-cid", "kuake-qic", limit=2, scores=True)) == 0
    assert {path: path.read_bytes() for path in first} == first
    after = scores(output)
    assert {name for name, _ in after} == {"bc5cdr-chemical", "bc5cdr-cid", "kuake-qic"}
    assert {key: after[key] for key in before} == before
    assert len(table(output)) == 6
    (status,) = watch(Progress(str(output)).status, 1)
    assert (status.state, status.records, status.left) == ("complete", 6, 0)
    counts = pq.read_table(output / "counts.parquet").to_pylist()
    assert {row["benchmark"] for row in counts} == {name for name, _ in after}
    readings = json.loads((output / "test_readings.json").read_text())
    assert [(reading["benchmark"], reading["split"]) for reading in readings] == [
        ("bc5cdr-chemical", "test"),
        ("bc5cdr-cid", "test"),
        ("kuake-qic", "dev"),
    ]

    capsys.readouterr()
    assert run(settings(root, output, "ncbi-disease", "kuake-qic", limit=2, scores=True)) == 0
    printed = capsys.readouterr().err
    assert "nothing to do: all 6 documents are in" in printed
    assert "note: ncbi-disease: absent: ncbi_disease: the files of its test split" in printed
    assert json.loads((output / "test_readings.json").read_text()) == readings

    with pytest.raises(ConfigError, match="belongs to a run with other settings"):
        run(settings(root, output, "kuake-qic", limit=2, scores=True, wording=2))


def test_a_benchmark_that_is_added_without_a_limit_leaves_the_others_as_many_documents(
    root, tmp_path
):
    first = settings(root, tmp_path / "out", "bc5cdr-chemical", limit=2)

    def plan(config):
        """Plan as `run` does; return how many documents each benchmark then has."""
        sources, _ = _sources(config, Console(quiet=True))
        job = config.as_job([source.address for source in sources])
        asks = Asks(job, ENGINES["fake"].probe(job), [], sources)
        plan = planning.planned(job, JobOutput(job.output), asks, sources, write=True)
        return {name: source.records for name, source in plan.sources.items()}

    assert plan(first) == {"bc5cdr-chemical/test": 2}
    added = first.model_copy(update={"benchmarks": ["bc5cdr-disease"], "limit": None})
    both = {"bc5cdr-chemical/test": 2, "bc5cdr-disease/test": 6}
    assert plan(added) == both
    other_limit = first.model_copy(update={"benchmarks": ["bc5cdr-cid"], "limit": 4})
    assert plan(other_limit) == both | {"bc5cdr-cid/test": 4}
    assert plan(first)["bc5cdr-chemical/test"] == 2
    named = first.model_copy(update={"limit": None})
    assert plan(named)["bc5cdr-chemical/test"] == 6


@pytest.fixture
def server() -> Iterator[Played]:
    played = Played()
    yield played
    played.stop()


def test_a_server_is_measured_and_what_failed_is_asked_again(joined, root, tmp_path, server):
    of = source(root, "kuake-qic")
    (asked,) = of.assignments
    right = {
        document.text: asked.task.target(question, document.gold)
        for document in of.read()
        for question in asked.questions(document)
    }
    assert len(right) == 2
    nonsense: set[str] = {"感冒吃什么药"}
    heard: Counter[str] = Counter()

    def answer(body):
        prompt = json.dumps(body["messages"], ensure_ascii=False)
        text = next((text for text in right if text in prompt), None)
        if text is None:
            return completion(
                body, obedient(body)
            )  # the program only finds out what this server is
        heard[text] += 1
        return completion(body, "?" if text in nonsense else right[text])

    server.answer = answer
    output = tmp_path / "out"
    config = settings(root, output, "kuake-qic", engine="http", url=server.url, context_length=2048)
    assert run(config) == 3  # half of the documents failed
    key = ("kuake-qic", "micro_f1")
    before = scores(output)[key]
    assert (before["recall"], before["invalid"], before["documents"]) == (50, 50, 4)
    assert "What went wrong" in (output / "report.html").read_text()
    good = heard["体检多少钱"]

    nonsense.clear()
    assert run(config.model_copy(update={"retry_failed": True})) == 0
    assert heard["体检多少钱"] == good
    after = scores(output)[key]
    assert (after["value"], after["invalid"], after["documents"]) == (100, 0, 4)
    readings = json.loads((output / "test_readings.json").read_text())
    assert len(readings) == 1
    assert "What went wrong" not in (output / "report.html").read_text()


def test_a_folder_without_any_benchmark_is_one_short_line(tmp_path):
    with pytest.raises(ConfigError) as caught:
        run(settings(tmp_path, tmp_path / "out"))
    assert str(caught.value).startswith(f"--data-root {tmp_path}: has the files of none of ")
    assert "with --benchmarks NAME" in str(caught.value)


def test_benchmarks_that_are_all_absent_end_the_command_with_where_to_get_them(tmp_path):
    (tmp_path / "empty").mkdir()
    config = settings(tmp_path / "empty", tmp_path / "out", "ncbi-disease")
    with pytest.raises(ConfigError, match=r"^ncbi-disease: absent: .*get it at https://"):
        run(config)
    config = settings(tmp_path / "empty", tmp_path / "out", "imcs-reports")
    unseen = (
        r"^imcs-reports: absent: IMCS-V2-MRG: nobody here has seen its files yet.*; get it at https"
    )
    with pytest.raises(ConfigError, match=unseen):
        run(config)
    config = settings(tmp_path / "empty", tmp_path / "out", "kuake-qic", split="test")
    with pytest.raises(ConfigError, match=r"has no split 'test' \(splits: train, dev\)"):
        run(config)


def test_the_tables_have_scores_and_of_some_benchmarks_bad_answers():
    def record(name: str, **shares: float) -> dict:
        numbers = dict.fromkeys(("value", "low", "high", "ceiling"), 50.0)
        none = dict.fromkeys(("cut", "looping", "invalid", "not_in_the_text", "no_answer"), 0.0)
        of = {"benchmark": name, "metric": "strict_f1", "documents": 9, "published": {"T": 80.2}}
        return of | numbers | none | shares

    def printed(table) -> list[str]:
        with (console := Console(width=80)).capture() as capture:
            console.print(table)
        return [" ".join(line.split()) for line in capture.get().splitlines()]

    records = [record("one"), record("two", cut=12.5, not_in_the_text=3.0)]
    assert printed(evaluation.table(records))[1] == "one strict_f1 50.0 50.0-50.0 50.0 9 T 80.2"
    assert printed(evaluation.bad_answers(records)) == [
        "answers, % cut looping invalid not in the text no answer",
        "two 12.5 0.0 0.0 3.0 0.0",
    ]
    assert evaluation.bad_answers(records[:1]) is None


def test_thresholds_come_from_dev_and_never_from_a_split_that_measures(root, tmp_path):
    def find(document):
        wrong = Mention(9, "chemical", "reverses", 9, 17, score=0.25)
        right = [replace(m, score=0.75) for m in document.gold.mentions]
        return Annotations([*right, wrong])

    scores, sources = [], [source(root, "bc5cdr-chemical")]
    for split in ("dev", "test"):
        asked = source(root, "bc5cdr-chemical", split=split)
        answered(tmp_path / split, asked, find)
        scores.append(score(asked, str(tmp_path / split)))
    assert _best_thresholds(scores) == {"bc5cdr-chemical": {"chemical": 0.75}}
    assert _best_thresholds(scores[1:]) == {}
    (tmp_path / evaluation.THRESHOLDS).write_text(json.dumps(_best_thresholds(scores)))
    assert _thresholds(str(tmp_path), sources) == {"bc5cdr-chemical": {"chemical": 0.75}}


@pytest.mark.parametrize(
    ("name", "split", "way_out"),
    [
        ("bc5cdr-disease", "test", "evaluate --split dev with --scores first"),
        ("cmeee", "dev", "evaluate --split train --limit N with --scores first, of a model for"),
        (
            "kuake-qic",
            "dev",
            "evaluate --split train --limit N with --scores first, of a model for",
        ),
    ],
)
def test_tuning_on_a_split_that_measures_is_refused_whatever_its_name(
    root, tmp_path, name, split, way_out
):
    (tmp_path / evaluation.THRESHOLDS).write_text('{"bc5cdr-chemical": {}}')
    sources = [source(root, "bc5cdr-chemical"), source(root, name)]
    with pytest.raises(ConfigError) as error:
        _thresholds(str(tmp_path), sources)
    line = str(error.value)
    assert line.startswith(f"--thresholds {tmp_path}: has none for {name}: they are never chosen")
    assert f"on its {split} split, which models are measured with; {way_out}" in line
    assert "\n" not in line


def test_a_development_split_that_measures_gives_no_thresholds_and_its_readings_count(
    root, tmp_path
):
    asked = source(root, "kuake-qic")  # its dev split is what the paper measures with

    def find(document):
        return Annotations(labels=[replace(label, score=0.5) for label in document.gold.labels])

    answered(tmp_path / "out", asked, find)
    found = [score(asked, str(tmp_path / "out"))]
    assert _best_thresholds(found) == {}
    config = settings(root, tmp_path / "out", "kuake-qic", scores=True)
    readings = _readings(config, found)
    assert [(one["benchmark"], one["split"]) for one in readings] == [("kuake-qic", "dev")]
    (tmp_path / "out" / evaluation.READINGS).write_text(json.dumps(readings))
    assert _readings(config, found) == readings
    assert _read_again(readings) == []
    again = settings(root, tmp_path / "out", "kuake-qic", scores=True, thresholds="elsewhere")
    (note,) = _read_again(_readings(again, found))
    assert note.startswith("note: kuake-qic: its dev split was scored in 2 ways")


def test_more_documents_or_asking_again_are_readings_and_no_choice_between_ways(root, tmp_path):
    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, lambda document: document.gold)
    found = score(asked, str(tmp_path / "out"))
    fewer = replace(found, documents=found.documents[:2])
    config = settings(root, tmp_path / "out", "bc5cdr-chemical")
    readings = [*_readings(config, [fewer]), *_readings(config, [found])]
    assert [reading["documents"] for reading in readings] == [2, 6]
    assert _read_again(readings) == []
    other_model = [*readings, {**readings[0], "fingerprint": "another"}]
    assert "was scored in 2 ways" in _read_again(other_model)[0]


def test_readings_of_earlier_versions_were_of_test_splits(root, tmp_path):
    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, lambda document: document.gold)
    found = [score(asked, str(tmp_path / "out"))]
    config = settings(root, tmp_path / "out", "bc5cdr-chemical")
    (reading,) = _readings(config, found)
    old = {name: value for name, value in reading.items() if name != "split"}
    (tmp_path / "out" / evaluation.READINGS).write_text(json.dumps([old]))
    assert _readings(config, found) == [reading]


def test_examples_of_the_training_split_stand_before_each_question(root, tmp_path):
    config = settings(root, tmp_path / "out", "bc5cdr-chemical", shots=2)
    plain_settings = settings(root, tmp_path / "out", "bc5cdr-chemical")
    (plain,), _ = _sources(plain_settings, Console(quiet=True))
    (of,), _ = _sources(config, Console(quiet=True))
    document = next(of.read())
    (question,), (before,) = (one.assignments[0].questions(document) for one in (of, plain))
    *shots, last = question.messages
    assert [last] == before.messages
    assert [message["role"] for message in shots] == ["user", "assistant"] * 2
    head = "Here are the chemical entities mentioned in the text:"
    assert {message["content"] for message in shots[1::2]} == {f"{head} Naloxone; Clonidine"}
    (again,), _ = _sources(config, Console(quiet=True))
    assert again.assignments[0].identity() == of.assignments[0].identity()
    assert of.assignments[0].identity().keys() - plain.assignments[0].identity() == {"shots"}
    with pytest.raises(ConfigError, match=r"^--shots 2: examples for kuake-qic come from its trai"):
        _sources(settings(root, tmp_path / "out", "kuake-qic", shots=2), Console(quiet=True))


def test_examples_by_similarity_are_those_of_the_training_split_most_like_each_document(
    root, tmp_path
):
    train = root / "CDR_TrainingSet.PubTator.txt"
    train.write_text(train.read_text().replace("Naloxone helped", "Morphine helped", 5))
    config = settings(root, tmp_path / "out", "bc5cdr-chemical", shots=1, shots_by="similarity")
    (of,), _ = _sources(config, Console(quiet=True))
    (question,) = of.assignments[0].questions(next(of.read()))
    assert [message["role"] for message in question.messages] == ["user", "assistant", "user"]
    # The last training document has just the words of the question's, which may be itself.
    assert "Morphine helped" in question.messages[0]["content"]
    with pytest.raises(ConfigError, match=r"^--shots 1 --split train: documents of bc5cdr-chem"):
        more = settings(root, tmp_path / "out", "bc5cdr-chemical", shots=1, split="train")
        _sources(more, Console(quiet=True))


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_asks_only_what_it_lacks(joined, root, tmp_path):
    output, quiet = tmp_path / "out", tmp_path / "quiet"
    names = ("bc5cdr-chemical", "bc5cdr-disease", "bc5cdr-cid")
    command = "from taiyi_ray.cli import main; main()"
    slow = ("--engine", "fake", "--engine-arg", "latency=1", "--engine-arg", "question_slots=1")
    options = ("--benchmarks", ",".join(names), "--context-length", "4096", "--data-root", root)
    log = tmp_path / "log"
    with log.open("w") as printed:
        driver = subprocess.Popen(
            [sys.executable, "-c", command, "evaluate", *options, "--output", output, *slow],
            stdout=printed, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    until = time.monotonic() + 120
    while len(unit_files(output)) < 4:
        assert driver.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.1)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    kept = {path: path.read_bytes() for path in unit_files(output)}
    assert 4 <= len(kept) < 18
    assert not (output / "scores.json").exists()

    assert run(settings(root, output, *names)) == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert len({row["run_id"] for row in table(output)}) == 2
    assert len(table(output)) == 18
    assert run(settings(root, quiet, *names)) == 0
    assert content(output) == content(quiet)
    assert scores(output) == scores(quiet)

    # A benchmark is added: the rows of the others stay, and are scored again.
    done = {path: path.read_bytes() for path in unit_files(output)}
    assert run(settings(root, output, "kuake-qic")) == 0
    assert {path: path.read_bytes() for path in done} == done
    added = set(unit_files(output)) - done.keys()
    assert {path.parent.name for path in added} == {"dev"}
    assert len(table(output)) == 18 + 4
    assert {name for name, _ in scores(output)} == {*names, "kuake-qic"}

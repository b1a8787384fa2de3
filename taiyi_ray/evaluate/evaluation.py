"""A run of an evaluation: benchmarks are answered by a corpus job, then scored.

It writes:

OUT/annotations/<benchmark>/<split>/...   the rows, as every corpus job does
OUT/scores.json                           a list of objects, one a benchmark and metric
OUT/counts.parquet                        what each document adds to each metric, by type
OUT/thresholds.json                       with --scores: the best thresholds, by type, never of a
                                          split that models are measured with
OUT/test_readings.json                    each time that a split was scored that models are
                                          measured with
OUT/report.html                           scores, errors, examples
"""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Column, Table

from taiyi_ray import catalogue, models, storage
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.catalogue.entry import Split
from taiyi_ray.config import EvaluateConfig
from taiyi_ray.corpus.output import RUN
from taiyi_ray.corpus.plan import load_job
from taiyi_ray.corpus.source import Source
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.prepare import asking_form
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate import cases as case_study
from taiyi_ray.evaluate.benchmark import Benchmark, chosen
from taiyi_ray.evaluate.cases import CASES, CaseSource
from taiyi_ray.evaluate.report import AnsweredCase, write_report
from taiyi_ray.evaluate.scoring import (
    PROBLEMS,
    BenchmarkScores,
    Thresholds,
    counts_table,
    key,
    prompts,
    score,
)
from taiyi_ray.evaluate.source import BenchmarkSource, planned, register
from taiyi_ray.job.job import run_sources
from taiyi_ray.job.planning import going_on
from taiyi_ray.metrics import best_threshold
from taiyi_ray.models import Trained
from taiyi_ray.tasks.task import Assignment

SCORES, COUNTS, THRESHOLDS = "scores.json", "counts.parquet", "thresholds.json"
READINGS, REPORT = "test_readings.json", "report.html"

_MOST_EXAMPLES = 5000
"""The most documents among which similar examples are looked for: they travel to all workers."""


def run(config: EvaluateConfig, *, dry_run: bool = False) -> int:
    """Answer benchmarks, score them, and print the table; return the exit code of the job.

    Args:
        config: the settings of the command.
        dry_run: only print the settings and the plan of the job; nothing is written.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        ServerGone, Unfinished: the job ended before all was done; the same command continues it.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    config = going_on(config, load_job(storage.absolute(config.output)), console)
    sources, cases = _sources(config, console)
    # Read first: what is wrong with it should be said before hours of work.
    thresholds = _thresholds(config.thresholds, sources) if config.thresholds else {}
    register(config.data_root)
    every: list[Source] = [*sources, *cases]
    job = config.as_job([source.address for source in every])
    code = run_sources(job, every, [], console, dry_run=dry_run)
    if dry_run:
        return code
    trained = _trained(config)
    scores = [
        score(one, config.output, thresholds.get(one.benchmark.name), trained) for one in sources
    ]
    records = [record for one in scores for record in one.as_records(config.seed)]
    readings = _readings(config, scores)
    _write(config, scores, records, readings, _answered(config.output, cases))
    for note in (*_leaks(scores), *_read_again(readings)):
        console.print(note)
    if records:
        console.print(table(records))
    if (bad := bad_answers(records)) is not None:
        console.print(bad)
    if answered := case_study.answers([config.output]):
        console.print(case_study.table([config.output], answered))
    console.print(f"{config.output}/{SCORES}, {config.output}/{COUNTS}, {config.output}/{REPORT}")
    return code


def _sources(
    config: EvaluateConfig, console: Console
) -> tuple[list[BenchmarkSource], list[CaseSource]]:
    """The benchmarks whose files are there, and the cases; a note for each absent benchmark.

    Those that the output has already belong to it, too: its scores are always of all that it holds.
    One that this command does not name keeps the number of documents that it has.
    """
    root = DataRoot(config.data_root)
    grammar = config.grounding == "grammar"
    form = asking_form(config)
    more = {"ask": config.ask} if config.ask else {}
    sources, missing = [], []
    known, with_cases = planned(config.output)
    names = config.benchmarks
    if names is not None and CASES in names:
        names, with_cases = [name for name in names if name != CASES], True
    wanted = [(one, config.split or one.split, config.limit) for one in chosen(names)]
    every = {(one.name, split): (one, limit) for one, split, limit in [*known, *wanted]}
    for (_, split), (benchmark, limit) in every.items():
        here = root.splits(benchmark.entry)
        if lacking := [part for part in (split, *benchmark.terminology) if part not in here]:
            missing.append(f"{benchmark.name}: absent: {_absent(benchmark, lacking[0], root)}")
            continue
        asked, *beside = benchmark.assignments(more, grammar=grammar, data_root=root)
        asked, *beside = (one.in_form(form) for one in (asked, *beside))
        if config.shots:
            asked = _with_examples(asked, benchmark, split, config, root)
        every_task = (asked, *beside)
        sources.append(BenchmarkSource(benchmark, split, root.address, every_task, limit))
    cases = case_study.sources(root.address, form, grammar=grammar) if with_cases else []
    if not (sources or cases):
        if config.benchmarks is None:
            raise ConfigError(
                f"--data-root {config.data_root}: has the files of none of {len(missing)} "
                "benchmarks; with --benchmarks NAME this command says what one of them lacks"
            )
        raise ConfigError("; ".join(missing))
    for note in missing:
        console.print(f"note: {note}")
    return sources, cases


def _with_examples(
    asked: Assignment, benchmark: Benchmark, split: Split, config: EvaluateConfig, root: DataRoot
) -> Assignment:
    """Put examples of the training split before each question.

    Args:
        asked: what is asked.
        benchmark: the benchmark.
        split: the split that is scored.
        config: how many examples, and how they are chosen.
        root: the data root.

    Raises:
        ConfigError: the training split is not here, or its documents are scored themselves.
    """
    if "train" not in root.splits(benchmark.entry):
        raise ConfigError(
            f"--shots {config.shots}: examples for {benchmark.name} come from its training split: "
            f"{_absent(benchmark, 'train', root)}"
        )
    if split == "train" and config.shots_by == "seed":
        raise ConfigError(
            f"--shots {config.shots} --split train: documents of {benchmark.name} would be their "
            "own examples; score another split, or give --shots-by similarity"
        )
    read = catalogue.load(benchmark.entry, "train", data_root=root)
    usable = [document for document in read if document.status == "ok"]
    draw = random.Random(config.seed)
    if config.shots_by == "seed":
        return asked.with_shots(draw.sample(usable, min(config.shots, len(usable))))
    pool = draw.sample(usable, min(_MOST_EXAMPLES, len(usable)))
    return asked.with_similar_shots(pool, config.shots)


def _absent(benchmark: Benchmark, split: Split, root: DataRoot) -> str:
    entry = benchmark.entry
    if entry.layouts and split not in entry.splits:
        return f"{entry.name} has no split {split!r} (splits: {', '.join(entry.splits)})"
    if not entry.layouts:
        where = entry.address or "an address that is not known"
        return f"{catalogue.unseen(entry)}; get it at {where}"
    return catalogue.absent(entry, split, root)


# ------------------------------------------------------------------------------ what is written


def _write(
    config: EvaluateConfig,
    scores: Sequence[BenchmarkScores],
    records: Sequence[dict[str, Any]],
    readings: Sequence[dict[str, Any]],
    answered: Sequence[AnsweredCase],
) -> None:
    address = storage.absolute(config.output)

    def put(name: str, data: bytes) -> None:
        storage.replace(storage.join(address, name), data)

    put(SCORES, _json(records))
    buffer = io.BytesIO()
    pq.write_table(counts_table(scores), buffer, compression="zstd")
    put(COUNTS, buffer.getvalue())
    if config.scores and (best := _best_thresholds(scores)):
        put(THRESHOLDS, _json(best))
    put(READINGS, _json(readings))
    totals = json.loads(storage.read(storage.join(address, RUN)) or b"{}").get("totals", {})
    report = write_report(scores, records, readings, config, cases=answered, totals=totals)
    put(REPORT, report.encode())


def _answered(output: str, cases: Iterable[CaseSource]) -> list[AnsweredCase]:
    """The rows that an output has of cases, with the questions of those that are still there."""
    known = {one.case.name: one for one in cases}
    return [
        AnsweredCase(row, prompts(one.assignments, one.document) if one else [])
        for row in case_study.rows(output)
        for one in [known.get(row["document_id"])]
    ]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _readings(config: EvaluateConfig, scores: Iterable[BenchmarkScores]) -> list[dict[str, Any]]:
    """The readings so far of splits that models are measured with, and those of this run.

    A reading of the same rows in the same way is no new one.
    """
    path = storage.join(storage.absolute(config.output), READINGS)
    # Earlier versions counted test splits alone, and did not name them.
    readings = [{"split": "test", **r} for r in json.loads(storage.read(path) or b"[]")]
    known = [{k: v for k, v in reading.items() if k != "time"} for reading in readings]
    for one in scores:
        if not one.benchmark.measures(one.split):
            continue
        reading = {
            "benchmark": one.benchmark.name,
            "split": one.split,
            "fingerprint": one.tag,
            "documents": len(one.documents),
            "thresholds": config.thresholds,
        }
        if reading not in known:
            readings.append({"time": datetime.now(UTC).isoformat(timespec="seconds"), **reading})
    return readings


def _read_again(readings: Iterable[Mapping[str, Any]]) -> list[str]:
    """A note for each split that models are measured with and that was scored in several ways.

    Other questions, another model (both are in the fingerprint) and other thresholds are another
    way. More documents are not, because nobody chooses by them.
    """
    way = ("benchmark", "split", "fingerprint", "thresholds")
    ways = dict.fromkeys(tuple(reading[name] for name in way) for reading in readings)
    times = Counter((benchmark, split) for benchmark, split, *_ in ways)
    return [
        f"note: {benchmark}: its {split} split was scored in {number} ways ({READINGS}); to choose "
        "between them is to tune on it"
        for (benchmark, split), number in times.items()
        if number > 1
    ]


def _trained(config: EvaluateConfig) -> Trained | None:
    """The documents that trained the model; None where nothing says so, or it is elsewhere."""
    if not ENGINES[config.engine].runs_model:
        return None
    return models.trained_on(str(models.resolve(config.model, config.adapter).path))


def _leaks(scores: Iterable[BenchmarkScores]) -> list[str]:
    """A note for each benchmark with documents that trained the model; one if none has any."""
    known = [one for one in scores if one.trained is not None]
    leaks = [
        f"note: {one.benchmark.name}: {one.trained:,} documents of its {one.split} split trained "
        "this model; its score says little about other texts"
        for one in known
        if one.trained
    ]
    if known and not leaks:
        return ["no document of these splits trained this model, by text and PubMed identifier"]
    return leaks


def _best_thresholds(scores: Iterable[BenchmarkScores]) -> dict[str, Thresholds]:
    """For each benchmark the threshold of each type with the best F1, by its main metric.

    Splits that models are measured with have no part in it.
    """
    found: dict[str, Thresholds] = {}
    for one in scores:
        if one.benchmark.measures(one.split):
            continue
        by_type: dict[str, list[tuple[float, bool]]] = {}
        for type_, value, right in one.scored:
            by_type.setdefault(type_, []).append((value, right))
        found[one.benchmark.name] = {
            type_: best_threshold(scored, int(sums[0] + sums[2]))
            for type_, scored in sorted(by_type.items())
            for sums in [one.sums(one.benchmark.main_metric, type_).sum(axis=0)]
        }
    return found


def _thresholds(output: str, sources: Iterable[BenchmarkSource]) -> dict[str, Thresholds]:
    """The thresholds that an earlier evaluation found for these benchmarks.

    Raises:
        ConfigError: it found none for one of them, as on a split that models are measured with.
    """
    data = storage.read(storage.join(storage.absolute(output), THRESHOLDS))
    known: dict[str, Thresholds] = json.loads(data or b"{}")
    for one in sources:
        if one.benchmark.name not in known:
            raise ConfigError(
                f"--thresholds {output}: has none for {one.benchmark.name}: they are never chosen "
                f"on its {one.benchmark.split} split, which models are measured with; "
                f"{one.benchmark.choices_from}"
            )
    return known


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The entries of scores.json with their intervals, ceilings and published numbers."""
    whole = ("benchmark", "metric", "score", "95 %", "ceiling", "documents")
    shown = Table(*(Column(name, no_wrap=True) for name in whole), "published", box=None)
    for record in records:
        published = record["published"] or {}
        shown.add_row(
            record["benchmark"],
            record["metric"],
            f"{record['value']:.1f}",
            f"{record['low']:.1f}-{record['high']:.1f}",
            f"{record['ceiling']:.1f}",
            f"{record['documents']:,}",
            ", ".join(f"{name} {value:.1f}" for name, value in published.items()),
        )
    return shown


def bad_answers(records: Sequence[Mapping[str, Any]]) -> Table | None:
    """The shares of bad answers in percent, of the benchmarks that have any; None without."""
    kinds = list(dict.fromkeys(PROBLEMS.values()))
    shares = {one["benchmark"]: [one[key(kind)] for kind in kinds] for one in records}
    shown = Table(Column("answers, %", no_wrap=True), *kinds, box=None)
    for benchmark, values in shares.items():
        if any(values):
            shown.add_row(benchmark, *(f"{value:.1f}" for value in values))
    return shown if shown.row_count else None

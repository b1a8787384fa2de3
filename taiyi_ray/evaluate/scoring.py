"""A score is a pure function of the rows of an output and the gold at the same positions."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from taiyi_ray import storage
from taiyi_ray.catalogue.entry import Split
from taiyi_ray.corpus.output import Output
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.benchmark import Benchmark
from taiyi_ray.evaluate.errors import verdicts
from taiyi_ray.evaluate.source import BenchmarkSource
from taiyi_ray.merging import merge
from taiyi_ray.metrics import (
    LINK,
    METRICS,
    Array,
    Metric,
    Sums,
    interval,
    labels,
    oriented,
    precision,
    recall,
    string_mentions,
    string_relations,
)
from taiyi_ray.models.trained import Trained, document_keys
from taiyi_ray.records import (
    NOT_APPLICABLE,
    Annotations,
    Document,
    Mention,
    annotations_from_row,
    rows_of,
)
from taiyi_ray.tasks.task import Assignment, NotApplicable, Question, Task

ByType = Mapping[str, Sums]
Thresholds = Mapping[str, float]
"""The lowest score that counts, by type."""

MOST_SHOWN = 25
"""Of each benchmark, the most documents with errors that are kept to be shown."""

PROBLEMS = {
    "cut_off": "cut",
    "repetition": "looping",
    "invalid": "invalid",
    "empty": "invalid",
    "not_in_text": "not in the text",
    "engine_error": "no answer",
}
"""The words for what is wrong with answers, by their errors in the rows."""


def key(problem: str) -> str:
    """The key of a share of bad answers in scores.json."""
    return problem.replace(" ", "_")


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """What one document adds to the metrics of a benchmark.

    Attributes:
        position: its position in the source.
        document_id: the corpus's own id.
        sums: the sums of each metric, by type.
        ceiling: the same for the answer that states the gold, as far as the answer form can.
    """

    position: int
    document_id: str | None
    sums: Mapping[str, ByType]
    ceiling: Mapping[str, ByType]


@dataclass(frozen=True, slots=True)
class Shown:
    """A document with errors, to be looked at.

    Attributes:
        row: its row.
        predicted: what the model found, of what was asked.
        gold: the gold, of what was asked.
        prompts: the questions as they were put, each with what its answers are known by.
    """

    row: Mapping[str, Any]
    predicted: Annotations
    gold: Annotations
    prompts: Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class BenchmarkScores:
    """The scores of one benchmark.

    Attributes:
        benchmark: the benchmark.
        split: the split that was scored.
        documents: the documents that were asked about.
        not_asked: the number of documents that the task had nothing to ask about.
        unreadable: the number of documents that could not be read.
        questions: the number of questions.
        problems: how many answers were cut, looping, invalid or not in the text.
        kinds: how often each kind of verdict was given on the items of the main metric, with the
            types in gold and prediction.
        scored: type, score and rightness of each item of the main metric that has a score.
        shown: some documents with errors.
        trained: the number of documents of the split that trained the model, by text or PubMed
            identifier; None where nothing says what trained it.
        tag: what stands for everything that was scored, to tell whether a test was read before.
        digest: of the documents and their gold, to tell whether the set is the published one.
    """

    benchmark: Benchmark
    split: Split
    documents: list[ScoredDocument] = field(default_factory=list)
    not_asked: int = 0
    unreadable: int = 0
    questions: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str | None, str | None]] = field(default_factory=Counter)
    scored: list[tuple[str, float, bool]] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    trained: int | None = None
    tag: str = ""
    digest: str = ""

    def sums(self, metric: Metric, type_: str | None = None) -> Array:
        """The sums of a metric for each document: of one type, or of all together."""
        return _stacked(metric, (document.sums[metric.name] for document in self.documents), type_)

    def ceilings(self, metric: Metric) -> Array:
        """The sums of a metric that the ceiling has for each document."""
        return _stacked(metric, (document.ceiling[metric.name] for document in self.documents))

    def types(self, metric: Metric) -> list[str]:
        """The types that the metric met in gold or prediction."""
        return sorted(
            {type_ for document in self.documents for type_ in document.sums[metric.name]}
        )

    def by_type(self, metric: Metric, seed: int) -> list[dict[str, Any]]:
        """The values of each type, as `_values` gives them.

        Args:
            metric: the metric.
            seed: of the draws of the intervals.
        """
        return [
            {"type": type_, **_values(metric, self.sums(metric, type_), seed)}
            for type_ in self.types(metric)
        ]

    def _published(self, metric: str) -> tuple[dict[str, float] | None, str | None]:
        """The published numbers if they are of the same set and metric, and what is to be said."""
        known = self.benchmark.published
        if known is None:
            return None, "nobody published a number that is known here"
        if known.not_comparable:
            return None, known.not_comparable
        number = len(self.documents) + self.not_asked + self.unreadable
        if self.split != self.benchmark.split:
            return None, f"the published numbers are of the {self.benchmark.split} split"
        if number not in known.documents:
            wanted = " or ".join(f"{n:,}" for n in known.documents)
            return None, f"the published numbers are of {wanted} documents, these of {number:,}"
        if known.digest not in (None, self.digest):
            return None, "the published numbers are of other documents, or of other gold"
        if metric != known.metric:
            return None, f"the published numbers count as {known.metric} does"
        return dict(known.values), known.by_count

    def as_records(self, seed: int) -> list[dict[str, Any]]:
        """The entries of scores.json: one for each metric.

        Args:
            seed: of the draws of the intervals.
        """
        return [self._record(METRICS[name], seed) for name in self.benchmark.metrics]

    def _record(self, metric: Metric, seed: int) -> dict[str, Any]:
        sums = self.sums(metric)
        values = _values(metric, sums, seed)
        published, note = self._published(metric.name)
        return {
            "benchmark": self.benchmark.name,
            "metric": metric.name,
            **{name: values.pop(name) for name in ("value", "low", "high")},
            "documents": len(self.documents),
            "ceiling": float(metric.value(self.ceilings(metric).sum(axis=0))),
            "published": published,
            "published_note": note,
            "split": self.split,
            **values,
            "types": self.by_type(metric, seed),
            "trained_on": self.trained,
            "not_asked": self.not_asked,
            "unreadable": self.unreadable,
            "questions": self.questions,
            **{key(name): share for name, share in self.shares.items()},
        }

    @property
    def shares(self) -> dict[str, float]:
        """The shares of answers with each problem, in percent."""
        return {
            name: 100 * self.problems[name] / max(1, self.questions)
            for name in dict.fromkeys(PROBLEMS.values())
        }


def _values(metric: Metric, documents: Array, seed: int) -> dict[str, Any]:
    """The value with its interval; where the metric counts, precision, recall and gold, too.

    Args:
        metric: the metric.
        documents: the sums of each document.
        seed: of the draws of the interval.
    """
    sums = documents.sum(axis=0)
    low, high = interval(metric, documents, seed=seed)
    found: dict[str, Any] = {"value": float(metric.value(sums)), "low": low, "high": high}
    if metric.counts:
        found |= {"precision": float(precision(sums)), "recall": float(recall(sums))}
        found["gold"] = int(sums[0] + sums[2])
    return found


def _stacked(metric: Metric, sums: Iterable[ByType], type_: str | None = None) -> Array:
    rows = [
        metric.total(of) if type_ is None else np.array(of.get(type_, (0.0,) * metric.width))
        for of in sums
    ]
    return np.array(rows, float).reshape(len(rows), metric.width)


def score(
    source: BenchmarkSource,
    output: str,
    thresholds: Thresholds | None = None,
    trained: Trained | None = None,
) -> BenchmarkScores:
    """Score the rows of one benchmark.

    Args:
        source: the benchmark, with what was asked about its documents.
        output: the folder of the output.
        thresholds: the lowest scores that count, by type.
        trained: the documents that trained the model, where that is known.

    Raises:
        ConfigError: the rows are not those of the documents of the benchmark.
        StorageError: something cannot be read.
    """
    assignment, *_ = source.assignments
    benchmark = source.benchmark
    scores = BenchmarkScores(benchmark, source.split, trained=None if trained is None else 0)
    metrics = [METRICS[name] for name in benchmark.metrics]
    main = benchmark.main_metric
    parts = []
    for row, document in zip(_rows(source, output), source.read(), strict=False):
        scores.tag = row["fingerprint"]
        if (row["position"], row["document_id"]) != (document.position, document.document_id):
            raise ConfigError(
                f"{output}: the rows of {source.name} are not those of its documents; write to "
                "another --output"
            )
        gold = asked_of(document.gold, assignment)
        parts.append(told(document, gold))
        if trained is not None and scores.trained is not None:
            pmid = benchmark.entry.pmid_of(document.document_id)
            scores.trained += bool(trained.having(document_keys(document, pmid)))
        if document.status == "failed":
            scores.unreadable += 1
            continue
        best = _ceiling(source.assignments, document)
        if best is None or _was_not_asked(row, assignment):
            scores.not_asked += 1
            continue
        _count_answers(scores, row)
        predicted = _above(asked_of(annotations_from_row(dict(row)), assignment), thresholds or {})
        best = asked_of(best, assignment)
        if not benchmark.directed:
            predicted, best = oriented(predicted, gold), oriented(best, gold)
        scores.documents.append(
            ScoredDocument(
                document.position,
                document.document_id,
                {metric.name: metric.sums(predicted, gold) for metric in metrics},
                {metric.name: metric.sums(best, gold) for metric in metrics},
            )
        )
        scores.scored += _scored(main, predicted, gold)
        judged = [(v.kind, v.gold, v.predicted) for v in verdicts(main, predicted, gold)]
        scores.kinds.update(judged)
        wrong = any(kind != "right" for kind, _, _ in judged) or bool(gold.texts)
        if wrong and len(scores.shown) < MOST_SHOWN:
            asked = prompts(source.assignments, document)
            scores.shown.append(Shown(row, predicted, gold, asked))
    scores.digest = set_digest(parts)
    return scores


def told(document: Document, gold: Annotations) -> str:
    """What tells a document from others in a digest: its text, and its gold by texts and labels.

    Neither ids nor offsets nor white space count, because files of several formats give them
    differently for the same set, or do not have them.
    """
    items = string_mentions(gold) | string_relations(gold) | labels(gold)
    return json.dumps(["".join(document.text.split()), sorted(json.dumps(i) for i in items)])


def set_digest(parts: Iterable[str]) -> str:
    """The digest of a set of documents by what `told` says of each; their order does not matter."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def _rows(source: BenchmarkSource, output: str) -> Iterator[dict[str, Any]]:
    units = Output(output).units
    for name in sorted(units.committed(source.name)):
        yield from rows_of(storage.read_table(f"{units.address}/{name}{units.ending}"))


def prompts(assignments: Sequence[Assignment], document: Document) -> list[dict[str, Any]]:
    """The questions on a document as they were put, each with what its answers are known by.

    Args:
        assignments: the tasks.
        document: the document.
    """
    return [_prompt(question) for question, _ in _questions(assignments, document)]


def _prompt(question: Question) -> dict[str, Any]:
    return {
        "task": question.key,
        "types": [term.name for term in question.types],
        "language": question.language,
        "window": question.window.index,
        "messages": question.messages,
    }


def _questions(
    assignments: Sequence[Assignment], document: Document
) -> Iterator[tuple[Question, Task]]:
    """The questions of all tasks that have something to ask, each with its task."""
    for assignment in assignments:
        try:
            asked = assignment.questions(document)
        except NotApplicable:
            continue
        yield from ((question, assignment.task) for question in asked)


def _ceiling(assignments: Sequence[Assignment], document: Document) -> Annotations | None:
    """What the answers that state the gold are read as; None if there is nothing to ask.

    Args:
        assignments: the tasks; there is nothing to ask if the first has no question.
        document: the document with its gold.
    """
    asked = list(_questions(assignments, document))
    if not any(task is assignments[0].task for _, task in asked):
        return None
    return merge(
        [
            task.parse(task.target(question, document.gold), question, document).annotations
            for question, task in asked
        ]
    )


def _was_not_asked(row: Mapping[str, Any], assignment: Assignment) -> bool:
    return any(
        error["kind"] == NOT_APPLICABLE and error["where"] == assignment.task.name
        for error in row["errors"]
    )


def _count_answers(scores: BenchmarkScores, row: Mapping[str, Any]) -> None:
    """Count the last answer to each question of a row."""
    last = {
        (answer["task"], tuple(answer["types"]), answer["language"], answer["window"]): answer
        for answer in row["answers"]
    }
    scores.questions += len(last)
    scores.problems.update(PROBLEMS[a["error"]] for a in last.values() if a["error"] in PROBLEMS)


# ------------------------------------------------------------------------------ what is compared


def asked_of(found: Annotations, assignment: Assignment) -> Annotations:
    """Only what was asked for: what was not is neither right nor missed."""
    task, options = assignment.task.name, assignment.options
    terms = next(
        (
            getattr(options, name)
            for name in ("types", "relations", "labels")
            if hasattr(options, name)
        ),
        (),
    )
    names = {term.name for term in terms}
    if task == "ner":
        return Annotations([m for m in found.mentions if m.type in names])
    if task == "nen":
        return Annotations([mention for mention in found.mentions if mention.concept])
    if task in ("re", "ee"):
        return Annotations(
            [replace(mention, type=None) for mention in found.mentions],
            [relation for relation in found.relations if relation.type in names],
            [event for event in found.events if event.type in names],
        )
    return Annotations(
        labels=[
            label
            for label in found.labels
            if label.task.partition(":")[0] == task and (not names or label.label in names)
        ],
        texts=[text for text in found.texts if text.task.partition(":")[0] == task],
    )


def _above(found: Annotations, thresholds: Thresholds) -> Annotations:
    def kept(name: str | None, score: float | None) -> bool:
        return score is None or score >= thresholds.get(name or "", 0.0)

    def linked(mention: Mention) -> bool:
        return mention.concept is None or kept(LINK, mention.concept.score)

    if not thresholds:
        return found
    return replace(
        found,
        mentions=[m for m in found.mentions if kept(m.type, m.score) and linked(m)],
        relations=[r for r in found.relations if kept(r.type, r.score)],
        labels=[label for label in found.labels if kept(label.label, label.score)],
    )


def _scored(
    metric: Metric, predicted: Annotations, gold: Annotations
) -> Iterator[tuple[str, float, bool]]:
    """Type, score and rightness of each item of a prediction that has a score."""
    mine, true = metric.items(predicted, gold)
    for item, (_, score) in mine.items():
        if score is not None:
            yield item[0], score, item in true


# ------------------------------------------------------------------------------------- the table

COUNTS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("type", pa.string()),
        ("position", pa.int64()),
        ("document_id", pa.string()),
        ("sums", pa.list_(pa.float64())),
        ("ceiling", pa.list_(pa.float64())),
    ]
)
"""The columns of OUT/counts.parquet: what each document adds to each metric, by type. A document
that adds nothing has one line without a type."""


def counts_table(scores: Sequence[BenchmarkScores]) -> pa.Table:
    """What documents add to the metrics, as a table that `compare` reads."""
    return pa.Table.from_pylist(
        [
            {
                "benchmark": one.benchmark.name,
                "split": one.split,
                "metric": metric,
                "type": type_,
                "position": document.position,
                "document_id": document.document_id,
                "sums": of.get(type_ or ""),
                "ceiling": document.ceiling[metric].get(type_ or ""),
            }
            for one in scores
            for document in one.documents
            for metric, of in document.sums.items()
            for type_ in _types(of, document.ceiling[metric])
        ],
        COUNTS,
    )


def _types(*sums: ByType) -> list[str | None]:
    types: set[str | None] = set().union(*sums)
    return sorted(types, key=str) or [None]

"""The report of an evaluation: scores beside published ones, kinds of errors, examples with marks.

The file loads nothing, as the report of a job does not; `taiyi_ray.highlight` draws its documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from taiyi_ray import highlight
from taiyi_ray.config import EvaluateConfig
from taiyi_ray.evaluate.cases import CASES
from taiyi_ray.evaluate.errors import Kind, Verdict, verdicts
from taiyi_ray.evaluate.scoring import PROBLEMS, BenchmarkScores, Shown
from taiyi_ray.metrics import calibration, calibration_error
from taiyi_ray.records import Label, Mention, as_values

KINDS: tuple[Kind, ...] = get_args(Kind)

_COLOURS: dict[str, int | None] = dict(zip(KINDS, (3, 5, 2, 10, 0, 1), strict=True))
"""The colours of the kinds in the style sheet: right is green, spurious red, missed blue."""

_MOST_CONFUSED = 12
_MOST_IN_MATRIX = 14
"""With more types, only the types that are confused most often are shown."""


class AnsweredCase(NamedTuple):
    """A case of a case study: its row, and the questions as they were put (`scoring.prompts`)."""

    row: Mapping[str, Any]
    prompts: Sequence[Mapping[str, Any]]


def write_report(
    scores: Sequence[BenchmarkScores],
    records: Sequence[Mapping[str, Any]],
    readings: Sequence[Mapping[str, Any]],
    config: EvaluateConfig,
    *,
    cases: Sequence[AnsweredCase] = (),
    totals: Mapping[str, Any],
) -> str:
    """Return the report as one self-contained HTML file.

    Args:
        scores: the scores.
        records: the entries of scores.json.
        readings: the readings of splits that models are measured with.
        config: the settings of the run.
        cases: the answers to a case study.
        totals: counts over all rows, as run.json has them.
    """
    documents = [_document(one, shown) for one in scores for shown in one.shown]
    documents += [_case(one) for one in cases]
    types = {m["type"] or highlight.UNTYPED for one in cases for m in one.row["mentions"]}
    colours = highlight.colours(types) | _COLOURS
    script = highlight.script(__package__, "report")
    return highlight.template(__package__, "report").render(
        script=script,
        script_hash=highlight.csp_hash(script),
        style=highlight.style(__package__, "report"),
        config=config,
        records=records,
        benchmarks=[_benchmark(one, config.seed) for one in scores],
        compared={one.benchmark.name for one in scores if one.benchmark.published},
        shares=list(dict.fromkeys(PROBLEMS.values())),
        readings=readings,
        kinds=KINDS,
        cases=len(cases),
        documents=totals.get("documents", {}),
        failures=dict(Counter(totals.get("failures", {})).most_common()),
        colours=colours,
        data=highlight.as_json({"documents": documents, "colours": colours}),
    )


def _benchmark(one: BenchmarkScores, seed: int) -> dict[str, Any]:
    """What the report says of a benchmark besides its scores.

    The matrix has types; the concepts of wrong links are too many for it.

    Args:
        one: the scores.
        seed: of the draws of the intervals.
    """
    metric = one.benchmark.main_metric
    kinds: Counter[str] = Counter()
    matrix = _matrix(one.kinds)
    confused: Counter[tuple[str, str]] = Counter()
    for (kind, gold, predicted), number in one.kinds.items():
        kinds[kind] += number
        in_matrix = kind != "wrong link" and matrix is not None
        if kind in ("wrong type", "wrong link") and not in_matrix and gold and predicted:
            confused[gold, predicted] += number
    published = one.benchmark.published
    bins = calibration((score, right) for _, score, right in one.scored)
    return {
        "name": one.benchmark.name,
        "split": one.split,
        "metric": metric.name,
        "counts": metric.counts,
        "types": one.by_type(metric, seed),
        "kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
        "matrix": matrix,
        "confused": confused.most_common(_MOST_CONFUSED),
        "shares": one.shares,
        "questions": one.questions,
        "not_asked": one.not_asked,
        "unreadable": one.unreadable,
        "warnings": published.warnings if published else (),
        "source": published.source if published else None,
        "calibration": bins,
        "calibration_error": calibration_error(bins),
    }


def _matrix(kinds: Mapping[tuple[str, str | None, str | None], int]) -> dict[str, Any] | None:
    """Gold types as rows and predicted types as columns; None where there is nothing to confuse.

    Behind the types stand the columns of what has the type, but not quite the place, and of what
    was missed; below them, the row of what is not in the gold.
    """
    cells: Counter[tuple[str, str]] = Counter()
    for (kind, gold, predicted), number in kinds.items():
        if kind in ("right", "wrong type"):
            cells[gold or "", predicted or ""] += number
        elif kind in ("boundary", "missed"):
            cells[gold or "", kind] += number
        elif gold is None:
            cells["not in the gold", predicted or ""] += number
    besides = {"boundary", "missed", "not in the gold"}
    types = sorted({name for cell in cells for name in cell} - besides)
    if not 1 < len(types) <= _MOST_IN_MATRIX:
        return None
    columns = [
        *types,
        *(name for name in ("boundary", "missed") if any(c == name for _, c in cells)),
    ]
    rows = []
    for name in (*types, "not in the gold"):
        numbers = [cells[name, column] for column in columns]
        if name in types or any(numbers):
            rows.append((name, numbers, max(1, sum(numbers))))
    return {"columns": columns, "rows": rows}


def _document(one: BenchmarkScores, shown: Shown) -> dict[str, Any]:
    """A row as the page draws it: what was found, and what is missing, by the kind of error."""
    row = dict(shown.row)
    found = list(verdicts(one.benchmark.main_metric, shown.predicted, shown.gold))
    texts = [{"task": f"gold: {text.task}", "text": text.text} for text in shown.gold.texts]
    return {
        **row,
        "metadata": dict(row["metadata"]),
        "benchmark": one.benchmark.name,
        "mentions": list(_marks(found)),
        "relations": [
            _relation(number, verdict) for number, verdict in enumerate(found)
            if isinstance(verdict.what, tuple)
        ],
        "labels": [
            {"task": _asked(verdict.what, verdict.kind), "label": _types(verdict), "score": None}
            for verdict in found
            if isinstance(verdict.what, Label)
        ],
        "texts": [*(as_values(text) for text in shown.predicted.texts), *texts],
        "prompts": shown.prompts,
    }  # fmt: skip


def _case(one: AnsweredCase) -> dict[str, Any]:
    """A row of a case study as the page draws it: what was found, without a verdict."""
    metadata = dict(one.row["metadata"])
    return {**one.row, "metadata": metadata, "benchmark": CASES, "prompts": one.prompts}


def _marks(found: Iterable[Verdict]) -> Iterable[dict[str, Any]]:
    for number, verdict in enumerate(found):
        if isinstance(verdict.what, Mention):
            marked = {"id": number, "type": verdict.kind, "note": _types(verdict)}
            yield {**as_values(verdict.what), **marked}


def _relation(number: int, verdict: Verdict) -> dict[str, Any]:
    assert isinstance(verdict.what, tuple)
    head, tail = verdict.what
    return {
        "id": number,
        "type": f"{verdict.kind}: {_types(verdict)}",
        "head_text": head,
        "tail_text": tail,
        "head": [],
        "tail": [],
        "score": None,
    }


def _asked(label: Label, kind: Kind) -> str:
    """The kind of a verdict on a label, with the question where the task has several."""
    return " ".join(part for part in (kind, label.task.partition(":")[2]) if part)


def _types(verdict: Verdict) -> str:
    if verdict.gold and verdict.predicted and verdict.gold != verdict.predicted:
        return f"{verdict.predicted} (gold: {verdict.gold})"
    return verdict.predicted or verdict.gold or ""

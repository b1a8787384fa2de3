"""Runs side by side: their scores, and whether a difference to the first run is a real one.

Runs are compared on the documents that both scored, by a paired bootstrap. Answers to a case study
have no score: they only stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate import cases
from taiyi_ray.evaluate.evaluation import COUNTS
from taiyi_ray.metrics import METRICS, Array, Difference, Metric, interval, paired

ALL_TYPES = "(all)"

_Key = tuple[str, str, str]
_Place = tuple[int, str | None]
_Sums = dict[_Place, dict[str, Array]]
"""The sums of each document, by its position and id, then by type; a document without any has an
empty one. The same position with another id is another document, of other files."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One run on one benchmark, beside the first run.

    Attributes:
        benchmark, split, metric: what was scored, and how.
        type: the type, or ALL_TYPES.
        run: the folder of the run.
        value, low, high: its score with the 95 % interval, in percent.
        documents: on how many documents both runs were scored.
        difference, difference_low, difference_high: to the first run, in points; None for itself.
        p: as `Difference.p`.
        verdict: the difference in words; empty for the first run.
    """

    benchmark: str
    split: str
    metric: str
    type: str
    run: str
    value: float
    low: float
    high: float
    documents: int
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    verdict: str = ""

    @property
    def of(self) -> str:
        """The benchmark with its split, as it is called where it is shown."""
        return _named(self.benchmark, self.split)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: the folders of the runs.
        lines: their scores, on each benchmark and metric that the first run and another have.
        answers: their answers to each case of a case study, as `cases.answers` gives them.
        not_in_all: the benchmarks that some of the runs lack.
    """

    runs: Sequence[str]
    lines: Sequence[Compared]
    answers: cases.Answers
    not_in_all: Sequence[str]


def compare(runs: Sequence[str], *, by_type: bool = False, seed: int = 0) -> Comparison:
    """Compare runs with the first one, on each benchmark and metric that both have.

    Args:
        runs: the folders of outputs of `taiyi-ray evaluate`.
        by_type: also compare each type by itself.
        seed: of the draws.

    Raises:
        ConfigError: a folder holds no scores, or the runs have nothing in common.
        StorageError: a folder cannot be read.
    """
    read = [_read(run) for run in runs]
    answered = cases.answers(runs)
    held = [
        _held(of, any(said[number] is not None for said in answered.values()))
        for number, of in enumerate(read)
    ]
    keys = [key for key in read[0] if len(runs) == 1 or any(key in other for other in read[1:])]
    if not keys and sum(cases.CASES in of for of in held) < min(2, len(runs)):
        told = (f"{run} holds {_brief(of)}" for run, of in zip(runs, held, strict=True))
        raise ConfigError(f"nothing in common to compare: {'; '.join(told)}")
    every = dict.fromkeys(name for of in held for name in of)
    return Comparison(
        runs,
        [line for key in keys for line in _lines(key, runs, read, by_type, seed)],
        answered,
        [name for name in every if any(name not in of for of in held)],
    )


def _named(benchmark: str, split: str) -> str:
    return f"{benchmark}/{split}"


def _held(scored: Iterable[_Key], with_cases: bool) -> list[str]:
    """The benchmarks that a run holds, a case study as the last."""
    names = dict.fromkeys(_named(benchmark, split) for benchmark, split, _ in scored)
    return [*names, *([cases.CASES] if with_cases else [])]


def _brief(held: Sequence[str]) -> str:
    first, *others = held or ["nothing"]
    return f"{first} and {len(others)} more" if others else first


def _lines(
    key: _Key, runs: Sequence[str], read: Sequence[dict[_Key, _Sums]], by_type: bool, seed: int
) -> Iterator[Compared]:
    benchmark, split, name = key
    metric = METRICS[name]
    types = sorted({type_ for of in read for sums in of.get(key, {}).values() for type_ in sums})
    for type_ in [None, *types] if by_type and len(types) > 1 else [None]:
        for number, run in enumerate(runs):
            if key not in read[number]:
                continue
            mine, first = read[number][key], read[0][key]
            both = sorted(mine.keys() & first.keys(), key=str)
            if not both:
                raise ConfigError(f"{run}: scored other documents of {benchmark} than {runs[0]}")
            here = _array(metric, mine, both, type_)
            low, high = interval(metric, here, seed=seed)
            value = float(metric.value(here.sum(axis=0)))
            shown = type_ or ALL_TYPES
            line = (benchmark, split, name, shown, run, value, low, high, len(both))
            if not number:
                yield Compared(*line)
                continue
            there = _array(metric, first, both, type_)
            difference = paired(metric, there, here, seed=seed)
            yield Compared(*line, *_told(difference))


def _told(difference: Difference) -> tuple[float, float, float, float, str]:
    return (difference.value, difference.low, difference.high, difference.p, difference.verdict)


def _array(metric: Metric, of: _Sums, places: Sequence[_Place], type_: str | None) -> Array:
    zero = np.zeros(metric.width)
    return np.array(
        [sum(of[at].values(), zero) if type_ is None else of[at].get(type_, zero) for at in places]
    )


def _read(run: str) -> dict[_Key, _Sums]:
    path = storage.join(storage.absolute(run), COUNTS)
    if not storage.exists(path):
        raise ConfigError(f"{run}: holds no {COUNTS}; name the --output of `taiyi-ray evaluate`")
    found: dict[_Key, _Sums] = {}
    for row in storage.read_table(path).to_pylist():
        sums = found.setdefault((row["benchmark"], row["split"], row["metric"]), {})
        of_document = sums.setdefault((row["position"], row["document_id"]), {})
        if row["sums"] is not None:
            of_document[row["type"]] = np.array(row["sums"])
    return found

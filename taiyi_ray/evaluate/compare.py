"""Runs side by side: their scores, and whether a difference to the first run is a real one.

Runs are compared on the documents that both scored, by a paired bootstrap.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Column, Table

from taiyi_ray import highlight, storage
from taiyi_ray.errors import ConfigError
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


def compare(runs: Sequence[str], *, by_type: bool = False, seed: int = 0) -> list[Compared]:
    """Compare runs with the first one, on each benchmark and metric that both have.

    Args:
        runs: the folders of outputs of `taiyi-ray evaluate`.
        by_type: also compare each type by itself.
        seed: of the draws.

    Raises:
        ConfigError: a folder holds no scores, or the runs have no benchmark in common.
        StorageError: a folder cannot be read.
    """
    read = [_read(run) for run in runs]
    if not any(read):
        return []  # of case studies alone
    shared = [key for key in read[0] if any(key in other for other in read[1:])]
    if len(runs) > 1 and not shared:
        raise ConfigError(f"{runs[0]}: has no benchmark in common with {', '.join(runs[1:])}")
    return [
        line for key in shared or list(read[0]) for line in _lines(key, runs, read, by_type, seed)
    ]


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
    data = storage.read(path)
    if data is None:
        raise ConfigError(f"{run}: holds no {COUNTS}; name the --output of `taiyi-ray evaluate`")
    found: dict[_Key, _Sums] = {}
    for row in pq.read_table(io.BytesIO(data)).to_pylist():
        sums = found.setdefault((row["benchmark"], row["split"], row["metric"]), {})
        of_document = sums.setdefault((row["position"], row["document_id"]), {})
        if row["sums"] is not None:
            of_document[row["type"]] = np.array(row["sums"])
    return found


# --------------------------------------------------------------------------------- how it is shown

_HEAD = (
    "benchmark",
    "metric",
    "type",
    "run",
    "score",
    "95 %",
    "documents",
    "difference",
    "verdict",
)


def _cells(line: Compared) -> tuple[str, ...]:
    difference = ""
    if line.difference is not None:
        span = f"{line.difference_low:+.1f} to {line.difference_high:+.1f}"
        difference = f"{line.difference:+.1f} ({span})"
    return (
        f"{line.benchmark}/{line.split}",
        line.metric,
        line.type,
        line.run,
        f"{line.value:.1f}",
        f"{line.low:.1f}-{line.high:.1f}",
        f"{line.documents:,}",
        difference,
        line.verdict,
    )


def table(compared: Sequence[Compared]) -> Table:
    """The comparison as a table for the terminal."""
    shown = Table(*(Column(n, no_wrap=n in ("benchmark", "metric")) for n in _HEAD), box=None)
    for line in compared:
        shown.add_row(*_cells(line))
    return shown


def write(compared: Sequence[Compared], path: str) -> None:
    """Write the comparison to a file: Markdown (.md), HTML (.html) or Parquet (.parquet).

    Raises:
        ConfigError: the file has another ending.
        StorageError: it cannot be written.
    """
    forms = {".md": _markdown, ".html": _html, ".parquet": _parquet}
    ending = next((ending for ending in forms if path.endswith(ending)), None)
    if ending is None:
        raise ConfigError(f"--to {path}: expected a name that ends with {', '.join(forms)}")
    storage.replace(storage.absolute(path), forms[ending](compared))


def _markdown(compared: Sequence[Compared]) -> bytes:
    rows = [_HEAD, ("---",) * len(_HEAD), *map(_cells, compared)]
    lines = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows]
    return "".join(f"| {line} |\n" for line in lines).encode()


def _html(compared: Sequence[Compared]) -> bytes:
    def line(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    rows = "\n".join(line("td", _cells(one)) for one in compared)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Comparison</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{highlight.style(__package__, 'report')}</style>\n"
        '<main class="page summary">\n<h1>Comparison</h1>\n'
        '<p class="lead">Differences are to the first run, over the documents that both scored, '
        "with their 95 % interval.</p>\n"
        f'<div class="wide"><table class="runs">\n<thead>{line("th", _HEAD)}</thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n</main>\n</html>\n"
    ).encode()


def _parquet(compared: Sequence[Compared]) -> bytes:
    rows: list[dict[str, Any]] = [asdict(line) for line in compared]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, compression="zstd")
    return buffer.getvalue()

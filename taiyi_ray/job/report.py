"""The report of a run: one HTML file with the output's totals and some documents to look at.

The file loads nothing, and its content security policy forbids it. `taiyi_ray.highlight` decides
how a document is drawn.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from taiyi_ray import highlight
from taiyi_ray.corpus.output import UnitFile
from taiyi_ray.errors import StorageError
from taiyi_ray.records import SCHEMA, rows_of

MOST = 200
"""Documents that a report shows at most: with more, the page would be slow in browsers."""

MOST_BYTES = 8 << 20
"""Bytes that these documents take together in the page, at most. Failed documents get half of it if
others are shown too, and one document gets an eighth."""

_SHORT, _FEW = 300, 10
"""Of a document that is too large: characters that are shown of a title or message, and how many
errors are shown."""

_STATUSES = ("ok", "partial", "failed", "deleted")
_BATCH = 64

# The page does not show these columns.
_HIDDEN = frozenset({"content_hash", "version"})

# ------------------------------------------------------------------------------ choosing documents


def sample_rows(
    unit_files: Sequence[UnitFile],
    read: Callable[[str, Callable[[BinaryIO], _Rows]], _Rows],
    most: int = MOST,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Choose the rows that a report shows: failed ones first, then a sample of the others.

    At most half of the rows are failed ones, more only if there are too few others. Which rows of
    either kind are chosen depends on `seed`, the units' order and their counts alone. Only the unit
    files that hold a chosen row are read, a batch of rows at a time.

    A row for which there is no room (`MOST_BYTES`) keeps only its document's id, title and source,
    and its errors. So memory holds the rows of one unit beside those that the report shows.

    Args:
        unit_files: the units, with the counts that their footers give.
        read: calls a function with the open file at a unit's path (`storage.read_with`).
        most: rows to choose at most.
        seed: of the random choice.

    Returns:
        Rows of `records.SCHEMA` as dicts (`metadata` too), each kind in the order of the units.

    Raises:
        StorageError: a file holds another number of rows than its UnitFile says, or cannot be read.
    """
    all_failed = sum(unit.failed for unit in unit_files)
    all_others = sum(unit.rows for unit in unit_files) - all_failed
    failed = min(all_failed, max(most // 2, most - all_others))
    others = min(all_others, most - failed)
    generator = random.Random(seed)
    wanted_failed = _spread(
        [unit.failed for unit in unit_files], generator.sample(range(all_failed), failed)
    )
    wanted_others = _spread(
        [unit.rows - unit.failed for unit in unit_files],
        generator.sample(range(all_others), others),
    )
    room = MOST_BYTES // (2 if failed and others else 1)
    of_failed, of_others = _Room(room), _Room(room)
    first: list[dict[str, Any]] = []
    then: list[dict[str, Any]] = []
    for number in sorted(wanted_failed.keys() | wanted_others.keys()):
        unit = unit_files[number]
        wanted = (wanted_failed[number], wanted_others[number])
        failed_rows, other_rows = read(unit.path, partial(_read, unit, *wanted))
        first += map(of_failed.fitted, failed_rows)
        then += map(of_others.fitted, other_rows)
    return first + then


class _Room:
    """The room that is left in the report for the rows of one kind.

    Args:
        left: in bytes.
    """

    def __init__(self, left: int) -> None:
        self._left = left

    def fitted(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row if there is room for it, else the short form that `_stub` makes."""
        size = len(highlight.as_json(_shown(row)).encode())
        if size > min(self._left, MOST_BYTES // 8):
            return _stub(row, size)
        self._left -= size
        return row


def _stub(row: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return a row without its text and its annotations; an error says that these are not shown."""
    empty: dict[str, Any] = {
        column.name: [] if pa.types.is_nested(column.type) else None for column in SCHEMA
    }
    kept = {name: _short(row[name]) for name in ("document_id", "title", "source", "position")}
    errors = [{name: _short(text) for name, text in e.items()} for e in row["errors"][:_FEW]]
    message = f"its text and answers take {size / 1e6:.1f} MB; find them in OUT/annotations"
    note = {"kind": "not_shown", "where": "report", "message": message}
    return {**empty, **kept, "metadata": {}, "status": row["status"], "errors": [*errors, note]}


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHORT:
        return value[:_SHORT] + " ..."
    return value


def _spread(sizes: Sequence[int], chosen: Iterable[int]) -> defaultdict[int, list[int]]:
    """Split numbers that count over all units into numbers within each unit, ascending.

    `sizes` are the units' sizes. The result has the numbers within a unit by the unit's number.
    """
    ends = list(accumulate(sizes))
    within: defaultdict[int, list[int]] = defaultdict(list)
    for number in sorted(chosen):
        unit = bisect_right(ends, number)
        within[unit].append(number - ends[unit] + sizes[unit])
    return within


_Rows = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def _read(unit: UnitFile, failed: Sequence[int], others: Sequence[int], file: BinaryIO) -> _Rows:
    """Read the rows with these numbers: `failed` count among failed rows, `others` among the rest.

    Another run may have replaced the unit after it was counted (`--retry-failed`). Then fewer of
    its rows are failed, and numbers without a row are passed over.
    """
    # Without threads of Arrow's: see `storage.read_table`.
    parquet = pq.ParquetFile(file, pre_buffer=False)
    statuses = parquet.read(columns=["status"], use_threads=False).column("status").to_pylist()
    numbers: tuple[list[int], list[int]] = ([], [])
    for number, status in enumerate(statuses):
        numbers[status != "failed"].append(number)
    if len(statuses) != unit.rows:
        raise StorageError(f"{unit.path}: holds {len(statuses)} rows, not {unit.rows}")
    chosen = (
        [numbers[0][n] for n in failed if n < len(numbers[0])],
        [numbers[1][n] for n in others if n < len(numbers[1])],
    )
    rows = _rows_at(parquet, sorted(chosen[0] + chosen[1]))
    return [rows[number] for number in chosen[0]], [rows[number] for number in chosen[1]]


def _rows_at(parquet: pq.ParquetFile, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Read the rows with these numbers in a file (ascending); decode only their row groups."""
    sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
    rows: dict[int, dict[str, Any]] = {}
    for group, within in _spread(sizes, numbers).items():
        first = sum(sizes[:group])
        start, left = 0, list(within)
        for batch in parquet.iter_batches(
            _BATCH, row_groups=[group], columns=SCHEMA.names, use_threads=False
        ):
            here = [n for n in left if n < start + batch.num_rows]
            taken = batch.take(pa.array([n - start for n in here], pa.int32()))
            read = rows_of(pa.Table.from_batches([taken]))
            for row in read:
                row["metadata"] = dict(row["metadata"])
            rows.update(zip((first + n for n in here), read, strict=True))
            start, left = start + batch.num_rows, left[len(here) :]
            if not left:
                break
    return rows


# ----------------------------------------------------------------------------------- the HTML file


def write_report(
    rows: Iterable[Mapping[str, Any]], totals: Mapping[str, Any], run: Mapping[str, Any]
) -> str:
    """Return the report as one self-contained HTML file.

    Args:
        rows: the documents to show, in this order: rows of `records.SCHEMA` as dicts, `metadata`
            as a dict or as pairs. See `sample_rows`.
        totals: counts over all rows by name: `documents` (by status), `mentions`, `relations` (by
            type), `events`, `labels`, `texts`, `questions`, `wrong` and `not_applicable` (by
            task), `failures` (by kind), and `tokens` (`prompt_tokens`, `cached_tokens`,
            `output_tokens`). The three counts of tokens may also stand beside the others. Absent
            counts are zero.
        run: `run_id`, `started`, `seconds`, `documents_per_second`, `output_tokens_per_second`,
            `model`, `tasks` (a list), `fingerprint`, `output`. Absent values are not shown.
    """
    shown = [_shown(row) for row in rows]
    types = {m["type"] or highlight.UNTYPED for row in shown for m in row["mentions"]}
    colours = highlight.colours(types | set(totals.get("mentions", {})))
    documents = totals.get("documents", {})
    script = highlight.script(__package__, "report")
    template = highlight.template(__package__, "report", duration=_duration, share=_share)
    return template.render(
        script=script,
        script_hash=highlight.csp_hash(script),
        style=highlight.style(__package__, "report"),
        run=run,
        documents={status: documents[status] for status in _STATUSES if documents.get(status)},
        mentions=_counts(totals, "mentions"),
        relations=_counts(totals, "relations"),
        events=_counts(totals, "events"),
        labels=_counts(totals, "labels"),
        texts=_counts(totals, "texts"),
        tasks=_by_task(totals),
        failures=_counts(totals, "failures"),
        tokens=totals.get("tokens", totals),
        colours=colours,
        shown=len(shown),
        data=highlight.as_json({"documents": shown, "colours": colours}),
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in _HIDDEN}
    shown["metadata"] = dict(row["metadata"] or ())
    return shown


def _counts(totals: Mapping[str, Any], name: str) -> dict[str, int]:
    """Return the counts of one kind, the largest first."""
    counts: Mapping[str, int] = totals.get(name, {})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _by_task(totals: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return for each task its questions, answers with an error, and documents not asked about."""
    names = ("questions", "wrong", "not_applicable")
    tasks = {task for name in names for task in totals.get(name, {})}
    return {
        task: {name: totals.get(name, {}).get(task, 0) for name in names} for task in sorted(tasks)
    }


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if count * 1000 >= total else "< 0.1%"

"""The reading side of an output: the footers and rows of its units.

An output has these files:

    OUT/job.json, OUT/plan/<n>.json                      the settings, and the planned units
    OUT/annotations/<source>/<first>-<last>.parquet      a unit; it is committed once this exists
    OUT/died/<source>/<first>-<last>/<attempt>.json      an engine died while it had this unit
    OUT/runs/<run_id>.json                               the state of each run
    OUT/run.json                                         the newest run that is complete
    OUT/report.html                                      the report of that run
    OUT/.probe                                           on S3: the object of `storage.probe`

`job/output.py` writes them for the corpus job.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from taiyi_ray import storage
from taiyi_ray.corpus.units import Unit, Units
from taiyi_ray.errors import StorageError
from taiyi_ray.records import NOT_APPLICABLE, rows_of

JOB, RUN = "job.json", "run.json"
OUTPUT_PARTS = (JOB, RUN, "annotations", "plan", "runs", "died")
"""Files and folders of an output that could be mistaken for input (`report.html` cannot)."""

_JOB_BEGINS = re.compile(rb'\s*\{\s*"format": \d+,\s*"fingerprint": "')

FOOTER = b"taiyi_ray"
"""The key of a unit's footer in the metadata of its Parquet file."""

_READERS = 16

_BEGUN = "%Y%m%dT%H%M%S"
"""The beginning of a run's id: the time (UTC) when the run began."""


def new_run_id() -> str:
    """Return an id for a run that begins now."""
    return f"{datetime.now(UTC):{_BEGUN}}-{secrets.token_hex(3)}"


def day_of(run_id: str) -> date:
    """Return the day (UTC) on which a run began."""
    return datetime.strptime(run_id.partition("-")[0], _BEGUN).date()


_MOST_LABELS = 200
OTHERS = "(others)"
"""The less frequent labels are counted together under this name, so that a footer stays small."""


@dataclass(slots=True)
class Totals:
    """Counts over rows. A unit's footer holds those of the unit; added up, they are the output's.

    Attributes:
        documents: number of documents by status.
        mentions, relations, events: numbers by type.
        labels: number of labels by task and label, such as `tc: Treatment`.
        texts: number of texts by task.
        questions: number of questions by task; a question that was asked again counts once.
        wrong: number of answers with an error, by task.
        not_applicable: number of documents that a task had nothing to ask about, by task.
        failures: number of errors by kind.
        tokens: `prompt_tokens`, `cached_tokens` and `output_tokens`; beside them `questions`, the
            number of answers, in which a question that was asked again counts each time.
        answers: for each task the sum of its answers' lengths in tokens (`<task>.tokens`) and the
            sum of the squares (`<task>.squares`). `taiyi-ray plan` computes mean and spread.
        reused: `documents` whose answers were copied from an earlier output (`--reuse`), and the
            `prompt_tokens` and `output_tokens` that these answers took there. `questions`, `wrong`,
            `tokens` and `answers` count what was asked here only.
    """

    documents: Counter[str] = field(default_factory=Counter)
    mentions: Counter[str] = field(default_factory=Counter)
    relations: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    questions: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    not_applicable: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]]) -> Totals:
        """Return the counts over these rows."""
        totals = cls()
        for row in rows:
            totals.documents[row["status"]] += 1
            totals.mentions.update(m["type"] or "(untyped)" for m in row["mentions"])
            totals.relations.update(r["type"] for r in row["relations"])
            totals.events.update(e["type"] for e in row["events"])
            totals.labels.update(f"{label['task']}: {label['label']}" for label in row["labels"])
            totals.texts.update(text["task"] for text in row["texts"])
            for error in row["errors"]:
                if error["kind"] == NOT_APPLICABLE:
                    totals.not_applicable[error["where"]] += 1
                else:
                    totals.failures[error["kind"]] += 1
            if row.get("answered_in"):
                totals.reused["documents"] += 1
                for name in ("prompt_tokens", "output_tokens"):
                    totals.reused[name] += sum(answer[name] or 0 for answer in row["answers"])
                continue
            for answer in row["answers"]:
                task = answer["task"].partition(":")[0]
                totals.questions[task] += answer["attempt"] == 0
                totals.wrong.update([task] if answer["error"] else [])
                totals.tokens["questions"] += 1
                for name in ("prompt_tokens", "cached_tokens", "output_tokens"):
                    totals.tokens[name] += answer[name] or 0  # of an older program
                length = answer["output_tokens"] or 0
                totals.answers[f"{task}.tokens"] += length
                totals.answers[f"{task}.squares"] += length**2
        totals.labels = _bounded(totals.labels)
        return totals

    def add(self, other: Totals) -> None:
        """Add the counts of others to these."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.labels = _bounded(self.labels)

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Return the counts as plain JSON values, the largest of each kind first."""
        return {name: dict(getattr(self, name).most_common()) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, int]]) -> Totals:
        """Read what `as_dict` gave; counts that an older program did not write are empty."""
        return cls(**{name: Counter(counts) for name, counts in values.items()})


def _bounded(labels: Counter[str]) -> Counter[str]:
    if len(labels) <= _MOST_LABELS:
        return labels
    others = labels.pop(OTHERS, 0)
    kept = Counter(dict(labels.most_common(_MOST_LABELS - 1)))
    kept[OTHERS] = others + labels.total() - kept.total()
    return kept


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of a unit's Parquet file.

    Attributes:
        rows: number of rows in the file.
        first, last: smallest and largest position in the file; None when it holds no rows.
        unit: name of the unit that was written.
        attempt: id of this attempt to write the unit.
        run_id: the run that wrote it.
        totals: counts over the rows.
    """

    rows: int
    first: int | None
    last: int | None
    unit: str
    attempt: str
    run_id: str
    totals: Totals


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A committed unit.

    Attributes:
        path: address of its Parquet file.
        rows: number of rows in it.
        failed: number of these rows that have the status `failed`.
    """

    path: str
    rows: int
    failed: int


def is_output(folder: str) -> bool:
    """Tell whether a folder is an output of this program: its job.json begins as ours does."""
    path = storage.join(folder, JOB)
    if not storage.exists(path):
        return False
    return bool(_JOB_BEGINS.match(storage.read_with(path, lambda file: file.read(64))))


class Output:
    """One output folder: its committed units and their contents.

    Args:
        folder: the folder, as a user wrote it.

    Attributes:
        address: address of the folder.
        units: its committed units.
    """

    def __init__(self, folder: str) -> None:
        self.address = storage.absolute(folder)
        self.units = Units(storage.join(self.address, "annotations"), ".parquet")

    def path(self, unit: Unit) -> str:
        """Return the address of the file of a unit, committed or not."""
        return self.units.path(unit)

    def committed(self) -> dict[str, str]:
        """Return the names of the committed units, each with its object's tag: one listing."""
        return self.units.committed()

    def footer(self, unit: Unit) -> Footer:
        """Read a committed unit's footer.

        Raises:
            StorageError: the file is damaged, or this program did not write it.
        """
        path = self.path(unit)
        return storage.read_with(path, lambda file: _footer(path, file))

    def footers(self, units: Iterable[Unit]) -> Iterator[tuple[Unit, Footer]]:
        """Yield the footers of committed units in the given order; reads several at a time."""
        with ThreadPoolExecutor(_READERS) as pool:
            for chunk in _chunks(units, 64 * _READERS):
                yield from zip(chunk, pool.map(self.footer, chunk), strict=True)

    def rows(self, unit: Unit) -> list[dict[str, Any]]:
        """Read a committed unit's rows; columns that an older program lacked are null or empty."""
        return rows_of(storage.read_table(self.path(unit)))

    def reported(self) -> int | None:
        """Return the number of records in the newest complete run's run.json; None without it."""
        data = storage.read(storage.join(self.address, RUN))
        return json.loads(data).get("records") if data else None


def _footer(path: str, file: BinaryIO) -> Footer:
    try:
        metadata = pq.read_metadata(file)
        values = json.loads(metadata.metadata[FOOTER])
        groups = [_positions(metadata.row_group(n)) for n in range(metadata.num_row_groups)]
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{path}: is damaged, or was not written by this program; delete it and run the same "
            "command again"
        ) from error
    return Footer(
        rows=metadata.num_rows,
        first=min((low for low, _ in groups), default=None),
        last=max((high for _, high in groups), default=None),
        unit=values["unit"],
        attempt=values["attempt"],
        run_id=values["run_id"],
        totals=Totals.from_dict(values["totals"]),
    )


def _positions(group: Any) -> tuple[int, int]:
    for n in range(group.num_columns):
        column = group.column(n)
        if column.path_in_schema == "position" and column.statistics:
            return column.statistics.min, column.statistics.max
    raise KeyError("position")


def _chunks(units: Iterable[Unit], size: int) -> Iterator[list[Unit]]:
    chunk: list[Unit] = []
    for unit in units:
        chunk.append(unit)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def verify(output: Output, units: Iterable[Unit]) -> tuple[Totals, list[UnitFile], list[str]]:
    """Check that each of these committed units holds exactly its planned records.

    A unit is right when its file has as many rows as planned and its smallest and largest positions
    are the planned ones.

    Returns:
        The totals over all units, the units' files, and one message for each wrong unit.
    """
    totals, files, wrong = Totals(), [], []
    for unit, footer in output.footers(units):
        path = output.path(unit)
        if (footer.unit, footer.rows, footer.first, footer.last) != (
            unit.name, unit.records, unit.first, unit.last,
        ):  # fmt: skip
            wrong.append(
                f"{path}: holds {footer.rows} rows, {footer.first} to {footer.last}, of unit "
                f"{footer.unit!r}"
            )
        totals.add(footer.totals)
        files.append(UnitFile(path, footer.rows, footer.totals.documents["failed"]))
    return totals, files, wrong

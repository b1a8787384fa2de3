"""Answers of earlier outputs, found by what was asked (a fingerprint) and about what (a text).

`annotate --reuse DIR` copies them. DIR is a lake, whose table `revisions` is the index: it has the
hash, the fingerprint and the place of every record that was ever annotated. Or it is an output,
whose own rows are read for that. The index is a hint: what is copied is a row that has the wanted
hash and fingerprint itself.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output
from taiyi_ray.corpus.plan import Job, Plan, load_job, load_plan
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError, StorageError
from taiyi_ray.records import NOT_APPLICABLE, Document, rows_of

_log = logging.getLogger(__name__)

LAKE_FORMAT = 2
"""Version of a lake's tables and of its commits."""

LAKE_COMMITS = "_lake"
"""Folder of a lake that holds its commits: `<n>.json`, nine digits, each the whole state after n
updates (`lake/commits.py`)."""

LEDGER = "revisions"
"""The table of a lake with one row for each record of the outputs."""

COPIED = ("mentions", "relations", "events", "labels", "texts", "answers")
"""The columns that are copied."""

_COMMIT = re.compile(r"\d{9}\.json")
_INDEXED = ["content_hash", "fingerprint", "status"]
_PLACES = ["output", "unit"]
_READ = [*COPIED, *_INDEXED, "errors", "position", "answered_in"]
_READERS = 8


class _State(BaseModel):
    """What is needed of a lake's newest commit."""

    outputs: dict[str, str]
    files: dict[str, dict[str, Any]]


def check_format(lake: str, commit: bytes) -> None:
    """See that this version of the program made a lake, before anything else of it is read.

    Args:
        lake: its address, as the message shall have it.
        commit: the content of its newest commit.

    Raises:
        ConfigError: another version made it.
    """
    match = re.search(rb'"format":\s*(\d+)', commit)
    if match is None or int(match[1]) != LAKE_FORMAT:
        raise ConfigError(
            f"{lake}: another version of taiyi-ray made its tables; use that version, or make a "
            "new lake of the outputs"
        )


def _state(lake: str) -> _State | None:
    """Read the newest commit of a lake; None if there is none."""
    found = [stored.path for stored in storage.walk(storage.join(lake, LAKE_COMMITS))]
    names = [path for path in found if _COMMIT.fullmatch(path.rpartition("/")[2])]
    data = storage.read(max(names)) if names else None
    if data is None:
        return None
    check_format(f"--reuse {lake}", data)
    return _State.model_validate_json(data)


def fingerprints(address: str) -> set[str]:
    """The fingerprints of the runs whose answers a lake or an output has.

    Args:
        address: of the lake or the output.

    Raises:
        ConfigError: it is neither.
    """
    state = _state(address)
    if state is not None:
        return set(state.outputs.values())
    job, plan = _planned(address)
    return {job.fingerprint, *plan.identities}


def _planned(address: str) -> tuple[Job, Plan]:
    job = load_job(address)
    if job is None:
        raise ConfigError(
            f"--reuse {address}: is neither a lake nor an output of `taiyi-ray annotate`"
        )
    return job, load_plan(address, job)


# --------------------------------------------------------------------------------------- the index


@dataclass(frozen=True, slots=True)
class _Index:
    """The places of good rows of one fingerprint, by the beginnings of their hashes.

    Attributes:
        hashes: the first 64 bits of each hash, ascending.
        files: the number of the file of the unit that has the row.
        positions: the position of the record.
    """

    hashes: np.ndarray[Any, np.dtype[np.uint64]]
    files: np.ndarray[Any, np.dtype[np.uint32]]
    positions: np.ndarray[Any, np.dtype[np.int64]]

    def places(self, hash_: str) -> list[tuple[int, int]]:
        """The files and positions of the rows that may have this hash."""
        wanted = np.uint64(int(hash_[:_DIGITS], 16))
        first, last = (int(np.searchsorted(self.hashes, wanted, s)) for s in ("left", "right"))
        return [(int(self.files[n]), int(self.positions[n])) for n in range(first, last)]


_DIGITS = 16
"""Hexadecimal digits of the beginning of a hash."""


def _beginnings(hashes: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    digits = pc.utf8_slice_codeunits(hashes, 0, _DIGITS).to_pylist()
    return np.frombuffer(bytes.fromhex("".join(digits)), ">u8").astype(np.uint64)


class Answered:
    """The good rows of a lake or an output, by what was asked and about what.

    The index takes 20 bytes of memory a row, and is read when it is first needed.

    Args:
        address: of the lake or the output.
        wanted: the fingerprints that rows are asked for.
    """

    def __init__(self, address: str, wanted: Collection[str]) -> None:
        self.address, self._wanted = address, tuple(wanted)
        self._files: list[str] = []
        self._by_fingerprint: dict[str, _Index] | None = None
        self._lock = threading.Lock()
        self._gone: set[str] = set()

    def has(self, fingerprint: str, document: Document) -> bool:
        """Whether the index has an answered document of this text."""
        return document.status == "ok" and bool(self._places(fingerprint, document.content_hash()))

    def find(
        self, fingerprint: str, documents: Iterable[Document]
    ) -> tuple[dict[int, dict[str, Any]], int]:
        """Find the answers to what is asked about documents.

        Args:
            fingerprint: of what is asked.
            documents: of one source.

        Returns:
            By the positions of those documents that were answered the columns COPIED,
            `answered_in`, and as `errors` why tasks had nothing to ask; and the number of those
            others whose answers are in files that are gone or damaged.

        Raises:
            StorageGone: the store does not answer.
            StorageError: a file cannot be read. One that is gone or damaged is passed over.
        """
        hashes = {d.position: d.content_hash() for d in documents if d.status == "ok"}
        places = {position: self._places(fingerprint, hash_) for position, hash_ in hashes.items()}
        found: dict[int, dict[str, Any]] = {}
        lost: set[int] = set()
        with ThreadPoolExecutor(_READERS) as pool:
            # Of a text that was answered more than once the next place is tried if one is no good.
            while places := {at: known for at, known in places.items() if known}:
                by_file: dict[int, dict[int, list[int]]] = {}
                for at, known in places.items():
                    file, position = known.pop()
                    by_file.setdefault(file, {}).setdefault(position, []).append(at)
                for file, rows in zip(by_file, pool.map(self._rows, by_file.items()), strict=True):
                    if self._files[file] in self._gone:
                        lost.update(*by_file[file].values())
                    for row in rows:
                        if row["fingerprint"] != fingerprint or row["status"] != "ok":
                            continue
                        for at in by_file[file][row["position"]]:
                            if row["content_hash"] == hashes[at]:
                                found[at] = _copied(row, self._files[file])
                                del places[at]
        return found, len(lost - found.keys())

    def _places(self, fingerprint: str, hash_: str) -> list[tuple[int, int]]:
        with self._lock:
            if self._by_fingerprint is None:
                self._by_fingerprint = self._load()
        index = self._by_fingerprint.get(fingerprint)
        return index.places(hash_) if index else []

    def _rows(self, wanted: tuple[int, dict[int, list[int]]]) -> list[dict[str, Any]]:
        """Read the rows at some positions of a unit's file."""
        file, positions = wanted
        path = self._files[file]
        if path in self._gone:
            return []
        try:
            table = storage.read_table(path, _READ)
        except (StorageError, pa.ArrowException) as error:
            if isinstance(error, StorageError) and not isinstance(
                error.__cause__, FileNotFoundError
            ):
                raise
            self._gone.add(path)
            _log.warning("%s: answers cannot be copied from there (%s)", path, error)
            return []
        here = pc.is_in(table["position"], pa.array(positions, table.schema.field("position").type))
        return rows_of(table.filter(here))

    # ------------------------------------------------------------------------------- reading it

    def _load(self) -> dict[str, _Index]:
        numbers: dict[str, int] = {}
        parts: dict[str, list[tuple[Any, ...]]] = {name: [] for name in self._wanted}
        for table in self._ledger():
            good = table.filter(pc.equal(table["status"], "ok"))
            for name in self._wanted:
                rows = good.filter(pc.equal(good["fingerprint"], name)).combine_chunks()
                if len(rows):
                    parts[name].append(_part(rows, numbers))
        self._files = list(numbers)
        return {name: _joined(found) for name, found in parts.items() if found}

    def _ledger(self) -> Iterator[pa.Table]:
        """The ledger in pieces: a lake's own, or what the rows of an output say."""
        state = _state(self.address)
        with ThreadPoolExecutor(_READERS) as pool:
            if state is not None:
                paths = [storage.join(self.address, LEDGER, path) for path in state.files[LEDGER]]
                yield from pool.map(_ledger_file, paths)
                return
            _, plan = _planned(self.address)
            output = Output(self.address)
            committed = output.committed()
            units = [unit for unit in plan.units() if unit.name in committed]
            columns = [*_INDEXED, "position"]
            tables = pool.map(lambda unit: storage.read_table(output.path(unit), columns), units)
            for unit, table in zip(units, tables, strict=True):
                for name, value in zip(_PLACES, (self.address, unit.name), strict=True):
                    column = pa.DictionaryArray.from_arrays(
                        pa.array([0] * len(table), pa.int32()), [value]
                    )
                    table = table.append_column(name, column)
                yield table


def _ledger_file(path: str) -> pa.Table:
    return storage.read_table(path, [*_INDEXED, "position", *_PLACES], dictionaries=_PLACES)


def _part(rows: pa.Table, numbers: dict[str, int]) -> tuple[Any, ...]:
    """The index of some rows; files that are new get the next numbers."""
    outputs, units = (rows[name].combine_chunks() for name in _PLACES)
    pairs = np.asarray(outputs.indices).astype(np.int64) * len(units.dictionary)
    pairs += np.asarray(units.indices)
    distinct, of_row = np.unique(pairs, return_inverse=True)
    files = []
    for pair in distinct.tolist():
        output, unit = divmod(pair, len(units.dictionary))
        of = Unit.named(units.dictionary[unit].as_py())
        path = Output(outputs.dictionary[output].as_py()).path(of)
        files.append(numbers.setdefault(path, len(numbers)))
    return (
        _beginnings(rows["content_hash"]),
        np.array(files, np.uint32)[of_row],
        np.asarray(rows["position"]),
    )


def _joined(parts: Sequence[tuple[Any, ...]]) -> _Index:
    hashes, files, positions = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(hashes, kind="stable")
    return _Index(hashes[order], files[order], positions[order])


def _copied(row: dict[str, Any], path: str) -> dict[str, Any]:
    return {
        **{name: row[name] for name in COPIED},
        "errors": [error for error in row["errors"] if error["kind"] == NOT_APPLICABLE],
        "answered_in": row["answered_in"] or path,  # of a copy, what it was copied from
    }

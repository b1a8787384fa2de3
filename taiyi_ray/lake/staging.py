"""The new rows of outputs, sorted into ranges of documents on the local disk.

An update reads each unit once, whatever ranges its rows belong to: a batch of units at a time is
split by ranges, and each part is a file below a temporary folder. The memory holds one batch.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output
from taiyi_ray.corpus.plan import Job, Plan
from taiyi_ray.corpus.units import Unit
from taiyi_ray.lake import rule
from taiyi_ray.lake.arrow import metadata_hashes
from taiyi_ray.lake.rule import Key
from taiyi_ray.records import SCHEMA, rows_of

_KEYED_BY = [
    *("document_id", "version", "status", "source", "position", "of_pubmed"),
]
_BATCH_BYTES = 192 << 20
_READERS = 4


@dataclass(frozen=True, slots=True)
class TakenUnit:
    """A unit of an output whose rows an update takes.

    Attributes:
        output: the output.
        address: its address.
        unit: the unit.
        tag: the tag of its object.
        pubmed: whether its source is a PubMed file.
    """

    output: Output
    address: str
    unit: Unit
    tag: str
    pubmed: bool


@dataclass(frozen=True, slots=True)
class Given:
    """An output that an update is given.

    Attributes:
        address: of the output.
        output: its reading side.
        job: its job.json.
        plan: its plan.
        committed: its units that are there, each with its tag.
    """

    address: str
    output: Output
    job: Job
    plan: Plan
    committed: dict[str, str]

    def units(self) -> Iterator[TakenUnit]:
        """The committed units, in the order of the plan."""
        for unit in self.plan.units():
            if unit.name in self.committed:
                pubmed = self.plan.sources[unit.source].format == "pubmed"
                tag = self.committed[unit.name]
                yield TakenUnit(self.output, self.address, unit, tag, pubmed)


def columns(answers: bool) -> list[str]:
    """The columns of an output that a lake reads."""
    return [name for name in SCHEMA.names if answers or name != "answers"]


def unit_rows(output: Output, unit: Unit, names: Sequence[str]) -> pa.Table:
    """Read a unit's rows as a table in columns of `records.SCHEMA`.

    Args:
        output: the output.
        unit: a committed unit.
        names: the columns.
    """
    table = storage.read_table(output.path(unit), names)  # an older program did not write them all
    schema = pa.schema([SCHEMA.field(name) for name in names])
    if not table.schema.equals(schema):  # of an older program
        table = _completed(table, schema)
    return table.replace_schema_metadata(None)


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a table of an older program all columns: those that it lacks are null or empty lists."""
    if any(schema.field(column.name).type != column.type for column in table.schema):
        return pa.Table.from_pylist(rows_of(table), SCHEMA).select(schema.names)
    for column in schema:
        if column.name not in table.schema.names:
            value: list[None] | None = [] if pa.types.is_nested(column.type) else None
            table = table.append_column(column, pa.array([value] * len(table), column.type))
    return table.select(schema.names)


class Staged:
    """New rows by ranges, in a folder on the local disk.

    Args:
        folder: an empty local folder.

    Attributes:
        rows: how many there are of each range.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[str, list[Path]] = {}
        self.rows: Counter[str] = Counter()

    def add(self, rows: pa.Table) -> None:
        """Add rows that `rule.keyed` made."""
        names = rows["range"].to_pylist()
        if names != sorted(names):
            rows = rows.sort_by("range")
            names.sort()
        first = 0
        while first < len(names):
            name, last = names[first], first
            while last < len(names) and names[last] == name:
                last += 1
            parts = self._parts.setdefault(name, [])
            path = self._folder / f"{name}-{len(parts)}.arrow"
            part = rows.slice(first, last - first).drop_columns("range")
            pyarrow.feather.write_feather(part, str(path), compression="lz4")
            parts.append(path)
            self.rows[name] += last - first
            first = last

    def take(self, name: str) -> pa.Table | None:
        """Read the rows of a range, and remove them; None if it has none."""
        parts = self._parts.get(name)
        if not parts:
            return None
        rows = pa.concat_tables(
            pyarrow.feather.read_table(str(part), memory_map=False) for part in parts
        )
        for part in parts:
            part.unlink()
        return rows


def stage(
    units: Iterable[TakenUnit],
    staged: Staged,
    connection: duckdb.DuckDBPyConnection,
    *,
    key: Key,
    pmids: int,
    answers: bool,
) -> int:
    """Read units, and sort their rows into ranges.

    Args:
        units: the units.
        staged: gets the rows.
        connection: a DuckDB to compute with.
        key: the key of documents that are not of PubMed's files.
        pmids: number of PMIDs in a range.
        answers: whether the answers are wanted too.

    Returns:
        The number of rows.
    """
    names = columns(answers)

    def read(taken: TakenUnit) -> pa.Table:
        rows = unit_rows(taken.output, taken.unit, names)
        more = {"output": pa.string(), "of_pubmed": pa.bool_()}
        values = {"output": taken.address, "of_pubmed": taken.pubmed}
        for name, type_ in more.items():
            column = pa.array([values[name]] * len(rows), type_)
            rows = rows.append_column(name, column)
        return rows

    held: list[pa.Table] = []
    count = size = 0

    def flush() -> None:
        if held:
            staged.add(keyed(pa.concat_tables(held), connection, key=key, pmids=pmids))
            held.clear()

    waiting = iter(units)
    with ThreadPoolExecutor(_READERS) as pool:
        ahead = deque(pool.submit(read, unit) for unit in islice(waiting, 2 * _READERS))
        while ahead:
            rows = ahead.popleft().result()
            ahead.extend(pool.submit(read, unit) for unit in islice(waiting, 1))
            held.append(rows)
            count += len(rows)
            size += rows.nbytes
            if size >= _BATCH_BYTES:
                flush()
                size = 0
    flush()
    return count


def keyed(
    rows: pa.Table, connection: duckdb.DuckDBPyConnection, *, key: Key, pmids: int
) -> pa.Table:
    """Add to rows what the ledger says of them, and the range that they belong to.

    Args:
        rows: in columns of `records.SCHEMA`, with `output` and `of_pubmed`.
        connection: a DuckDB to compute with.
        key: the key of documents that are not of PubMed's files.
        pmids: number of PMIDs in a range.
    """
    slim = rows.select(_KEYED_BY).append_column("texts", pc.list_value_length(rows["passages"]))
    connection.register("new_rows", slim)
    try:
        query = rule.keyed("new_rows", pubmed="of_pubmed", key=key, pmids=pmids)
        found = connection.sql(query).to_arrow_table()
    finally:
        connection.unregister("new_rows")
    rows = rows.append_column("metadata_hash", metadata_hashes(rows))
    rows = rows.drop_columns(["of_pubmed", "version"])
    for name in found.column_names:
        rows = rows.append_column(name, found[name])
    return rows

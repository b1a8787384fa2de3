"""What Arrow's own functions lack: rows in the order of many columns, entries of a list column.

Strings are compared by their bytes, as DuckDB does, and nulls come last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def numbers(column: pa.ChunkedArray | pa.Array, null: int = -1) -> Numbers:
    """A column of whole numbers as NumPy has it, with another number in place of null."""
    return np.asarray(pc.fill_null(column, null)).astype(np.int64)


def _ranks(column: pa.ChunkedArray) -> tuple[Numbers, int]:
    """Numbers from 0 that sort as the values do, and how many different ones there may be."""
    if pa.types.is_dictionary(column.type):
        coded = whole(column)
    elif pa.types.is_string(column.type):
        coded = whole(column.dictionary_encode())
    else:
        if column.null_count == len(column):
            return np.zeros(len(column), np.int64), 1
        bounds = pc.min_max(column).as_py()
        low, high = int(bounds["min"]), int(bounds["max"])
        return numbers(pc.subtract(column.cast(pa.int64()), low), high - low + 1), high - low + 2
    rank = np.empty(len(coded.dictionary) + 1, np.int64)
    rank[np.asarray(pc.array_sort_indices(coded.dictionary))] = np.arange(len(coded.dictionary))
    rank[-1] = len(coded.dictionary)
    return rank[numbers(coded.indices, -1)], len(rank)


def ordered(table: pa.Table, by: Sequence[str]) -> pa.Table:
    """The rows of a table in the order of some columns of numbers and strings."""
    keys: list[Numbers] = []
    size = 1
    for name in by:
        ranks, different = _ranks(table[name])
        if keys and size * different < 1 << 62:  # one number is sorted faster than many
            keys[-1] = keys[-1] * different + ranks
            size *= different
        else:
            keys.append(ranks)
            size = different
    if len(keys) == 1 and bool((keys[0][1:] >= keys[0][:-1]).all()):
        return table
    order = keys[0].argsort(kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1])
    at = pa.array(order)
    return pa.table([_take(column, at) for column in table.columns], table.schema)


_LOOKED_AT = 4096
"""Values of a column that tell whether its values repeat."""


def _take(column: pa.ChunkedArray, at: pa.Array) -> pa.Array | pa.ChunkedArray:
    """The values of a column that have these numbers: what `take` gives, in less time.

    A column without any value needs no copy. Texts that repeat are moved as numbers, since a copy
    of each text costs several times as much.
    """
    if column.null_count == len(column):
        return pa.nulls(len(at), column.type)
    if pa.types.is_string(column.type):
        some = column.slice(0, _LOOKED_AT)
        if 2 * pc.count_distinct(some).as_py() < len(some):
            return whole(column.dictionary_encode()).take(at).dictionary_decode()
    return column.take(at)


def runs(column: pa.ChunkedArray) -> Iterator[tuple[int, int, int]]:
    """Each number of an ascending column, with its first row and how many rows have it."""
    values = numbers(column)
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
    counts = np.diff(starts, append=len(values))
    yield from zip(values[starts].tolist(), starts.tolist(), counts.tolist(), strict=True)


def entries(column: pa.ChunkedArray) -> tuple[dict[str, pa.Array], Numbers]:
    """The entries of a column of lists of structs.

    Returns:
        The fields of all entries by name, and for each entry the number of its row.
    """
    lists = whole(column)
    flat = pc.list_flatten(lists)
    names = [field.name for field in flat.type]
    fields = dict(zip(names, flat.flatten(), strict=True))
    return fields, numbers(pc.list_parent_indices(lists))


def among(table: pa.Table, wanted: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows of a table have a `source` and `position` that a row of another table has."""
    if not len(table) or not len(wanted):
        return np.zeros(len(table), bool)
    sources = pc.unique(wanted["source"])

    def keys(rows: pa.Table) -> Numbers:
        of_source = numbers(pc.index_in(rows["source"], value_set=sources))
        return np.where(of_source < 0, -1, of_source << _POSITIONS | numbers(rows["position"]))

    return np.isin(keys(table), keys(wanted))


_POSITIONS = 40
"""Bits for a position: more than records of any source."""


def metadata_hashes(rows: pa.Table) -> pa.Array:
    """MD5 of language, title and metadata of each row, whatever the order of the metadata.

    Args:
        rows: with these columns of `records.SCHEMA`.
    """
    maps = whole(rows["metadata"])
    offsets = np.asarray(maps.offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    keys = maps.keys.slice(first, last - first)
    values = pc.fill_null(maps.items.slice(first, last - first), "")
    named = pa.table(
        {
            "row": np.repeat(np.arange(len(maps)), np.diff(offsets)),
            "key": keys.dictionary_encode(),
            "pair": pc.binary_join_element_wise(keys, values, "="),
        }
    )
    pairs = whole(ordered(named, ("row", "key"))["pair"])
    lists = pa.ListArray.from_arrays(pa.array(offsets - first, pa.int32()), pairs)
    texts = pc.binary_join_element_wise(
        pc.fill_null(rows["language"], ""),
        pc.fill_null(rows["title"], ""),
        pc.binary_join(lists, "\x1e"),
        "\x1f",
    )
    digests = (
        hashlib.md5(text, usedforsecurity=False).hexdigest()
        for text in texts.cast(pa.binary()).to_pylist()
    )
    return pa.array(digests, pa.string())

"""Rows in the order of many columns, entries of a list column, hashes of metadata."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa

from taiyi_ray.lake import arrow

DRAW = random.Random(7)


def drawn(rows: int) -> pa.Table:
    texts = ["", "a", "B", "é", "😀", "糖尿病", "ab", None]
    return pa.table(
        {
            "text": pa.array(DRAW.choices(texts, k=rows), pa.string()),
            "number": pa.array(DRAW.choices([-5, 0, 7, 1 << 40, None], k=rows), pa.int64()),
            "wide": pa.array([DRAW.randrange(-(1 << 61), 1 << 61) for _ in range(rows)]),
            "row": range(rows),
        }
    )


def test_rows_are_ordered_by_bytes_and_numbers_with_nulls_last_and_equal_ones_as_they_were():
    def key(row: dict[str, object]) -> list[object]:
        text, number = row["text"], row["number"]
        assert isinstance(text, str | None)
        return [text is None, (text or "").encode(), number is None, number or 0]

    for rows in (0, 1, 300):
        table = drawn(rows)
        split = pa.concat_tables([table.slice(0, rows // 2), table.slice(rows // 2)])
        found = arrow.ordered(split, ("text", "number")).to_pylist()
        assert found == sorted(table.to_pylist(), key=key)
        # Columns whose numbers do not fit into one number together.
        found = arrow.ordered(split, ("number", "wide", "text")).to_pylist()
        assert found == sorted(
            table.to_pylist(), key=lambda row: [*key(row)[2:], row["wide"], *key(row)[:2]]
        )


def test_texts_that_repeat_and_columns_without_values_are_ordered_as_all_others():
    rows = 5000
    few = pa.chunked_array([["b", None] * (rows // 4), ["", "a"] * (rows // 4)], pa.string())
    table = pa.table(
        {
            "number": [DRAW.randrange(1 << 40) for _ in range(rows)],
            "few": few,
            "many": pa.array([f"text {n}" for n in range(rows)]),
            "none": pa.nulls(rows, pa.struct([("id", pa.string())])),
        }
    )
    found = arrow.ordered(table, ("number",))
    assert found.schema == table.schema
    assert found.to_pylist() == sorted(table.to_pylist(), key=lambda row: row["number"])
    assert arrow.ordered(table.slice(0, 0), ("number",)).schema == table.schema


def test_runs_of_equal_numbers_have_their_first_row_and_size():
    column = pa.chunked_array([[0, 0, 3], [3, 3, 9]], pa.int32())
    assert list(arrow.runs(column)) == [(0, 0, 2), (3, 2, 3), (9, 5, 1)]
    assert list(arrow.runs(pa.chunked_array([], pa.int32()))) == []


def test_entries_of_lists_have_the_number_of_their_row():
    kind = pa.list_(pa.struct([("a", pa.int64())]))
    column = pa.chunked_array([pa.array([[{"a": 1}, {"a": 2}], None, [], [{"a": 3}]], kind)])
    fields, rows = arrow.entries(column)
    assert (fields["a"].to_pylist(), rows.tolist()) == ([1, 2, 3], [0, 0, 3])
    fields, rows = arrow.entries(pa.chunked_array([column.chunk(0).slice(1)]))
    assert (fields["a"].to_pylist(), rows.tolist()) == ([3], [2])


def test_rows_are_found_by_source_and_position():
    rows = pa.table({"source": ["a", "a", "b", None], "position": [0, 1, 0, 0]})
    wanted = pa.table({"source": ["b", "a"], "position": [0, 1]})
    assert arrow.among(rows, wanted).tolist() == [False, True, True, False]
    assert not np.any(arrow.among(rows, wanted.slice(0, 0)))


def test_the_hash_of_metadata_knows_no_order_and_every_value():
    def hashes(*metadata: dict[str, str | None] | None, title: str | None = "t") -> list[str]:
        maps = [None if m is None else list(m.items()) for m in metadata]
        table = pa.table(
            {
                "language": pa.array(["en"] * len(maps), pa.string()),
                "title": pa.array([title] * len(maps), pa.string()),
                "metadata": pa.array(maps, pa.map_(pa.string(), pa.string())),
            }
        )
        whole = arrow.metadata_hashes(table).to_pylist()
        sliced = arrow.metadata_hashes(table.slice(1)).to_pylist()
        assert sliced == whole[1:]
        return whole

    one, other, less, none, empty = hashes(
        {"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1"}, None, {}
    )
    assert one == other and len({one, less, none}) == 3 and none == empty
    assert hashes({"a": "1", "b": "2"}, title=None) != [one]

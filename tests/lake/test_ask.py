"""A lake can be asked as it was."""

from __future__ import annotations

import io

import pytest
from deltalake import DeltaTable

from taiyi_ray.errors import ConfigError
from taiyi_ray.lake import ask, commits
from taiyi_ray.lake.update import update
from tests.lake.lakes import Record, asked


def test_a_lake_can_be_asked_as_it_was(out, lake):
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps"), Record("9", "Nine")], "2")
    update(lake, [out.address])
    count = "SELECT count(*) FROM documents"
    assert asked(lake, count) == [(4,)]
    assert asked(lake, count, "1") == [(3,)]
    assert asked(lake, count, "0") == [(0,)]
    assert asked(lake, count, commits.read(lake, 1).committed_at) == [(3,)]
    assert asked(lake, count, "2999-01-01") == [(4,)]
    with pytest.raises(ConfigError, match="the lake is younger"):
        asked(lake, count, "2020-01-01")
    with pytest.raises(ConfigError, match="neither the number of a commit nor a date"):
        asked(lake, count, "Monday")
    with pytest.raises(ConfigError, match="has no commit 99"):
        asked(lake, count, "99")
    # Delta's own versions are the same numbers.
    assert len(DeltaTable(f"{lake}/documents", version=1).to_pyarrow_table()) == 3
    sql, values = ask.changed(lake, "1")
    with ask.query(lake, sql, values=values) as found:
        assert [(r["change"], r["pmid"]) for r in found.read_all().to_pylist()] == [
            ("text", 7), ("insert", 9),
        ]  # fmt: skip


def test_columns_of_the_same_name_are_all_in_the_answer(lake):
    written = io.StringIO()
    with ask.query(lake, "SELECT 1 AS a, 2 AS a, {'b': [3]} AS c") as found:
        ask.write_csv(found, written)
    assert written.getvalue() == 'a,a,c\n1,2,"{""b"": [3]}"\n'


def test_a_statement_that_fails_while_its_rows_are_read_is_told_in_one_line(lake):
    late = "SELECT CAST(if(i < 50000, '1', 'x') AS INTEGER) AS n FROM range(60000) AS t(i)"
    with (
        pytest.raises(ConfigError, match="Could not convert string 'x' to INT32"),
        ask.query(lake, late) as found,
    ):
        ask.write_csv(found, io.StringIO())

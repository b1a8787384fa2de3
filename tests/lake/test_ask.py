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


@pytest.mark.parametrize(
    "sql",
    [
        "COPY documents TO '{there}'",
        "EXPLAIN ANALYZE COPY documents TO '{there}'",
        "EXPLAIN (FORMAT json) COPY documents TO '{there}'",
        "/* */ EXPLAIN ANALYZE COPY documents TO '{there}'",
        "SELECT 1; COPY documents TO '{there}'",
        "CREATE TABLE mine AS FROM documents",
        "ATTACH '{there}'",
        "SET threads = 1",
        "INSTALL httpfs",
        "SELECT 1; SELECT 2",
    ],
)
def test_a_query_asks_and_does_nothing_else(lake, tmp_path, sql):
    there = tmp_path / "there.parquet"
    with pytest.raises(ConfigError, match=r"^a lake answers one SELECT .* at a time, not: [A-Z]"):
        asked(lake, sql.format(there=there))
    assert not there.exists()


def test_select_in_all_its_forms_is_answered(lake):
    for sql in ("FROM documents", "WITH a AS (SELECT 1) FROM a", "DESCRIBE documents", "VALUES (1)",
                "SUMMARIZE documents", "EXPLAIN SELECT 1", "explain analyze FROM documents",
                "-- one\nSELECT 1;"):  # fmt: skip
        assert asked(lake, sql)


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_a_query_opens_no_file_but_those_of_the_tables(out, tmp_path, place, request):
    lake = str(tmp_path / "a lake's")
    if place == "bucket":
        lake = f"{request.getfixturevalue('bucket')}/a lake's"
    update(lake, [out.address])
    assert asked(lake, "SELECT count(*) FROM documents JOIN mentions USING (source, position)")
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (
        f"SELECT * FROM read_text('{secret}')",
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM glob('{tmp_path}/*')",
        f"SELECT * FROM read_parquet('{out.address}/annotations/*/*.parquet')",
        "SELECT * FROM read_text('s3://other/key')",
        "SELECT * FROM read_text('no-such-file')",
    ):
        with pytest.raises(ConfigError, match="a query reads the lake's tables alone"):
            asked(lake, sql)

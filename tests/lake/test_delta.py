"""The Delta logs follow the commits, and other programs read them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from taiyi_ray.lake import delta
from taiyi_ray.lake.tables import TABLES
from taiyi_ray.lake.update import update
from tests.lake.lakes import Record, asked, read


def test_a_commit_whose_logs_were_not_written_is_finished_by_the_next_update(
    out, lake, monkeypatch
):
    out.add("pubmed26n0002.xml.gz", [Record("9", "Nine")], "2")
    monkeypatch.setattr(delta, "follow", lambda *_: None)
    update(lake, [out.address])
    monkeypatch.undo()
    assert asked(lake, "SELECT count(*) FROM documents") == [(4,)]
    assert DeltaTable(f"{lake}/documents").version() == 1
    update(lake, [out.address])
    assert {DeltaTable(f"{lake}/{table}").version() for table in TABLES} == {2}
    assert len(DeltaTable(f"{lake}/documents").to_pyarrow_table()) == 4


def test_delta_duckdb_polars_pandas_and_pyarrow_read_the_same_rows(lake):
    import duckdb
    import polars as pl

    wanted = sorted((row["pmid"], row["text"]) for row in read(lake, "mentions"))
    assert wanted == [(7, "Metformin"), (300000, "Insulin"), (300000, "Stroke")]
    table = DeltaTable(f"{lake}/mentions")
    assert _pairs(table.to_pyarrow_table().to_pylist()) == wanted
    assert _pairs(table.to_pandas().to_dict("records")) == wanted
    assert _pairs(pl.read_delta(f"{lake}/mentions").to_dicts()) == wanted
    files = sorted(str(path) for path in Path(lake, "mentions").glob("*.parquet"))
    assert _pairs(row for path in files for row in pq.read_table(path).to_pylist()) == wanted
    with duckdb.connect() as connection:
        found = connection.execute("SELECT pmid, text FROM read_parquet(?)", [files]).fetchall()
    assert sorted(found) == wanted
    documents = DeltaTable(f"{lake}/documents")
    fields = {field.name: field for field in documents.schema().fields}
    assert fields["title"].metadata["comment"].startswith("Title, which is also a passage")
    assert all(field.metadata["comment"] for field in fields.values())
    of_mentions = {field.name: field for field in table.schema().fields}
    assert of_mentions["end"].metadata["comment"].startswith("Where it ends: the code point behind")
    assert documents.metadata().description == "One row a document: its newest version."
    # Delta's statistics let other readers pass over files.
    bounds = DeltaTable(f"{lake}/mentions").to_pyarrow_dataset()
    assert len(list(bounds.get_fragments(filter=_pmid(300000)))) == 1


def test_a_column_with_a_very_long_value_has_no_bounds_rather_than_wrong_ones():
    rows = pa.table({"document_id": ["a", "b", "z" * 5000, "c", None, None], "pmid": range(6)})
    file = io.BytesIO()
    pq.write_table(rows, file, row_group_size=2)
    found = json.loads(delta.statistics(pq.read_metadata(file)))
    assert (found["minValues"], found["maxValues"]) == ({"pmid": 0}, {"pmid": 5})
    assert found["nullCount"] == {"document_id": 2, "pmid": 0}


def _pmid(pmid: int):
    import pyarrow.compute as pc

    return pc.field("pmid") == pmid


def _pairs(rows):
    return sorted((row["pmid"], row["text"]) for row in rows)

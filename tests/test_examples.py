"""The files below examples/: the samples are sound, and the SQL answers over rows of the schema."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from taiyi_ray.formats import documents, json_lines
from taiyi_ray.records import SCHEMA
from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.options import read_file
from tests import samples

EXAMPLES = Path(__file__).parent.parent / "examples"
SOURCE = "a%3Db.xml-0123abcd"


def row(position: int, **values: Any) -> dict[str, Any]:
    lists = ("passages", "mentions", "relations", "events", "labels", "texts", "answers", "errors")
    return {
        **dict.fromkeys(SCHEMA.names),
        **{name: [] for name in lists},
        "document_id": str(100 + position),
        "metadata": [("journal", "J Test"), ("year", "2004")],
        "status": "ok",
        "source": SOURCE,
        "position": position,
        **values,
    }


def mention(id_: int, type_: str | None, text: str, start: int = 0) -> dict[str, Any]:
    return {
        "id": id_, "type": type_, "text": text, "start": start, "end": start + len(text),
        "spans": [], "passage": 0, "grounded": "exact", "score": None, "concept": None,
    }  # fmt: skip


def relation(head: str, heads: list[int], tail: str, tails: list[int]) -> dict[str, Any]:
    return {
        "id": 0, "type": "treatment", "head_text": head, "tail_text": tail,
        "head": heads, "tail": tails, "score": 0.5,
    }  # fmt: skip


ROWS = [
    row(
        0,
        title="阿司匹林",
        passages=[{"type": "title", "language": "zh", "offset": 0, "text": "阿司匹林"}],
        mentions=[mention(0, "chemical", "阿司匹林"), mention(1, "disease", "Stroke")],
        relations=[relation("阿司匹林", [0], "stroke", [1])],
        answers=[
            {"task": "ner", "types": [], "language": "zh", "window": 0, "attempt": n, "raw": "",
             "prompt_tokens": 9, "cached_tokens": 0, "output_tokens": 20, "finish_reason": "stop",
             "error": None}
            for n in range(2)
        ],
    ),
    row(
        1,
        title="Aspirin",
        mentions=[
            mention(0, "disease", "stroke", 0),
            mention(1, "gene", "stroke", 0),
            mention(2, "disease", "stroke", 9),
            mention(3, None, "aspirin", 20),
        ],
        relations=[relation("stroke", [0, 1, 2], "aspirin", [3])],
        events=[
            {"id": 0, "type": "Cause", "trigger": 2, "arguments": [
                {"role": "Theme", "mention": 3, "text": "aspirin"},
                {"role": "Site", "mention": None, "text": "brain"},
            ]},
            {"id": 1, "type": "Onset", "trigger": None, "arguments": []},
        ],
        labels=[{"task": "tc", "label": "Treatment", "score": 0.5}],
        texts=[{"task": "mt:zh", "text": "阿司匹林"}, {"task": "title", "text": "Aspirin"}],
        metadata=[("journal", "J Other"), ("year", "in press")],
    ),
    row(
        2, document_id=None, status="failed", metadata=[],
        errors=[{"kind": "truncated", "where": "source", "message": "the stream ends early"}],
    ),
]  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> str:
    """The glob of an output of two units."""
    folder = tmp_path / "out/annotations" / SOURCE
    folder.mkdir(parents=True)
    for first, last in ((0, 1), (2, 2)):
        table = pa.Table.from_pylist(ROWS[first : last + 1], SCHEMA)
        pq.write_table(table, folder / f"{first}-{last}.parquet", compression="zstd")
    return str(tmp_path / "out/annotations/**/*.parquet")


@pytest.fixture
def database(output: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"SET VARIABLE annotations = '{output}'")
    connection.execute((EXAMPLES / "views.sql").read_text("utf-8"))
    return connection


def asked(database: duckdb.DuckDBPyConnection, sql: str) -> Sequence[tuple[Any, ...]]:
    return database.execute(sql).fetchall()


# ---------------------------------------------------------------------------------------- samples


def test_pubmed_sample() -> None:
    file = EXAMPLES / "pubmed-sample.xml"
    assert file.stat().st_size < 400_000
    data = file.read_bytes()
    assert data.startswith(b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet')
    articles = ET.fromstring(data).findall("PubmedArticle")
    assert len(articles) == len({a.findtext("MedlineCitation/PMID") for a in articles}) == 30
    assert not any(a.findall(".//CopyrightInformation") for a in articles)
    abstracts = [a.findall(".//AbstractText") for a in articles]
    assert any(not sections for sections in abstracts)
    assert any(len(sections) > 1 for sections in abstracts)
    assert any(len(section) for sections in abstracts for section in sections)  # inline markup
    assert any(a.findall(".//VernacularTitle") for a in articles)


def test_chinese_sample() -> None:
    lines = (EXAMPLES / "chinese-sample.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["document_id"] for record in records] == [f"zh-{n}" for n in range(1, 9)]
    keys = {"document_id", "title", "text", "passages", "language", "metadata"}
    assert all(record.keys() <= keys for record in records)
    assert all(("text" in record) != ("passages" in record) for record in records)
    languages = {p.get("language") for record in records for p in record.get("passages", ())}
    assert {"zh", "en"} <= languages


@pytest.mark.parametrize("name", [*TASKS, "all"])
def test_task_files(name: str) -> None:
    path = EXAMPLES / "tasks" / f"{name}.yaml"
    given = read_file(str(path))
    assert list(given) == (list(TASKS) if name == "all" else [name])
    assert [a.task.name for a in assign(list(given), given)] == list(given)
    assert all(len(line) <= 100 for line in path.read_text("utf-8").splitlines())


def test_every_task_has_something_to_do_in_the_documents_of_its_example() -> None:
    given = read_file(str(EXAMPLES / "tasks" / "all.yaml"))
    with (EXAMPLES / "tasks" / "documents.jsonl").open("rb") as stream:
        found = list(documents(stream, "documents.jsonl", json_lines.FORMAT, "s", 0, 8))
    assert [d.errors for d in found] == [[]] * 9
    for assignment in assign(list(given), given):
        assert any(samples.questions(assignment, document) for document in found)
        assert not all(samples.questions(assignment, document) for document in found)


# -------------------------------------------------------------------------------------------- SQL


def test_documents(database: duckdb.DuckDBPyConnection) -> None:
    sql = """
        SELECT document_id, journal, year, status, mentions, relations, output_tokens, text
        FROM documents ORDER BY position
    """
    assert asked(database, sql) == [
        ("100", "J Test", 2004, "ok", 2, 1, 40, "阿司匹林"),
        ("101", "J Other", None, "ok", 4, 1, 0, ""),
        (None, None, None, "failed", 0, 0, 0, ""),
    ]


def test_mentions(database: duckdb.DuckDBPyConnection) -> None:
    sql = """
        SELECT source, position, mention_id, type, text, start, "end", title, language
        FROM mentions ORDER BY position, mention_id
    """
    rows = asked(database, sql)
    assert len(rows) == 6
    assert rows[0] == (SOURCE, 0, 0, "chemical", "阿司匹林", 0, 4, "阿司匹林", "zh")
    sliced = """
        SELECT d.text[start + 1 : "end"]
        FROM mentions JOIN documents AS d USING (source, position) WHERE mention_id = 0 LIMIT 1
    """
    assert asked(database, sliced) == [("阿司匹林",)]


def test_relations_carry_the_types_of_their_mentions(database: duckdb.DuckDBPyConnection) -> None:
    sql = """
        SELECT document_id, type, head_text, head_type, tail_text, tail_type, year, score
        FROM relations ORDER BY position
    """
    assert asked(database, sql) == [
        ("100", "treatment", "阿司匹林", "chemical", "stroke", "disease", 2004, 0.5),
        ("101", "treatment", "stroke", "disease, gene", "aspirin", None, None, 0.5),
    ]


def test_events_labels_and_texts(database: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT document_id, event_id, type, trigger, role, argument FROM events ORDER BY ALL"
    assert asked(database, sql) == [
        ("101", 0, "Cause", "stroke", "Site", "brain"),
        ("101", 0, "Cause", "stroke", "Theme", "aspirin"),
        ("101", 1, "Onset", None, None, None),
    ]
    sql = "SELECT document_id, task, label, score FROM labels"
    assert asked(database, sql) == [("101", "tc", "Treatment", 0.5)]
    sql = "SELECT document_id, task, text FROM texts ORDER BY task"
    assert asked(database, sql) == [("101", "mt:zh", "阿司匹林"), ("101", "title", "Aspirin")]


def test_questions(database: duckdb.DuckDBPyConnection) -> None:
    statements = database.extract_statements((EXAMPLES / "questions.sql").read_text("utf-8"))
    answers = [database.execute(statement).fetchall() for statement in statements]
    assert answers == [
        [("stroke", 2, 3)],
        [("阿司匹林", "stroke", 1, "treatment")],
        [(SOURCE, 3, 0.3333, 0.0, {"truncated": 1})],
    ]


def test_the_views_follow_the_variable_and_have_a_default(
    database: duckdb.DuckDBPyConnection, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute(f"SET VARIABLE annotations = '{output.replace('**/*', '**/2-*')}'")
    assert asked(database, "SELECT count(*) FROM documents") == [(1,)]
    monkeypatch.chdir(Path(output.partition("/out/")[0]))
    with duckdb.connect() as fresh:
        fresh.execute((EXAMPLES / "views.sql").read_text("utf-8"))
        assert asked(fresh, "SELECT count(*) FROM documents") == [(3,)]


def test_every_reader_sees_the_same_rows(output: str) -> None:
    folder = output.removesuffix("/**/*.parquet")
    counts = {
        "polars": len(pl.read_parquet(output)),
        "pandas": len(pd.read_parquet(folder)),
        "pyarrow": ds.dataset(folder).count_rows(),
        "duckdb": duckdb.execute(f"SELECT count(*) FROM '{output}'").fetchall()[0][0],
    }
    assert set(counts.values()) == {3}, counts

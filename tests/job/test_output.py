"""What the job writes into an output: a unit is there whole or not at all."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taiyi_ray import storage
from taiyi_ray.annotation import Annotated
from taiyi_ray.corpus.output import verify
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.report import sample_rows, write_report
from taiyi_ray.records import (
    SCHEMA,
    Document,
)
from tests.job.outputs import SOURCE, row, rows, unit


def test_a_unit_holds_its_rows_in_the_schema_of_the_contract(output):
    of = unit(3, 8)
    assert output.commit(of, rows(of), "run-1").stands
    assert output.path(of) == f"{output.address}/annotations/{SOURCE}/000000003-000000008.parquet"
    with storage.open_read(output.path(of)) as file:
        schema = pq.read_schema(file)
    assert schema.equals(SCHEMA)
    assert [field.metadata for field in schema] == [field.metadata for field in SCHEMA]
    expected = pa.Table.from_pylist(rows(of), SCHEMA).to_pylist()
    assert output.rows(of) == expected
    assert output.rows(of)[0]["mentions"][0]["text"] == "糖尿病"


def test_the_first_commit_stands(output):
    of = unit(0, 3)
    assert output.commit(of, rows(of), "run-1").stands
    before = storage.read(output.path(of))
    assert not output.commit(of, rows(of, "run-2"), "run-2").stands
    assert storage.read(output.path(of)) == before
    assert output.footer(of).run_id == "run-1"


def test_a_commit_whose_answer_was_lost_is_known_as_ones_own(faulty, faulty_bucket):
    output, of = JobOutput(f"{faulty_bucket}/out"), unit(0, 3)
    faulty.inflict("lost", "PUT")
    assert output.commit(of, rows(of), "run-1").stands
    assert not output.commit(of, rows(of), "run-1").stands  # another attempt, not ours
    tag = output.committed()[of.name]
    faulty.inflict("lost", "PUT")
    assert output.commit(of, rows(of, "run-2"), "run-2", replaces=tag).stands
    assert not output.commit(of, rows(of, "run-3"), "run-3", replaces=tag).stands
    assert output.footer(of).run_id == "run-2"
    assert faulty.done == {"lost": 2}


def test_doing_a_unit_again_takes_the_old_ones_place(output):
    of = unit(0, 3)
    output.commit(of, rows(of), "run-1")
    assert output.commit(
        of, rows(of, "run-2"), "run-2", replaces=output.committed()[of.name]
    ).stands
    assert output.footer(of).run_id == "run-2"
    assert set(output.committed()) == {of.name}


def test_only_the_object_that_was_seen_is_replaced(output):
    of = unit(0, 3)
    output.commit(of, rows(of), "run-1")
    seen = output.committed()[of.name]
    assert output.commit(of, rows(of, "run-2"), "run-2", replaces=seen).stands
    assert not output.commit(of, rows(of, "run-3"), "run-3", replaces=seen).stands
    assert output.footer(of).run_id == "run-2"


@pytest.mark.parametrize("positions", [[0, 1], [0, 1, 2, 3], [1, 0, 2], [1, 2, 3]])
def test_rows_that_are_not_the_units_are_never_written(local, positions):
    with pytest.raises(AssertionError):
        local.commit(unit(0, 2), [row(n) for n in positions], "run-1")
    assert local.committed() == {}


def test_a_unit_without_any_finding_has_the_same_schema(local):
    of = unit(0, 0)
    bare = Annotated(Document(None, source=SOURCE), status="failed").row(
        unit=of.name, run_id="run-1", fingerprint="f"
    )
    local.commit(of, [bare], "run-1")
    assert pq.read_schema(local.path(of)).equals(SCHEMA)
    assert local.footer(of).totals.as_dict()["documents"] == {"failed": 1}


def test_a_report_of_units_that_are_done_again_meanwhile_is_whole(output):
    units = [unit(0, 3), unit(4, 7)]
    for of in units:
        output.commit(of, rows(of), "run-1")
    _, files, _ = verify(output, units)
    fixed = [one | {"status": "ok", "errors": []} for one in rows(units[0], "run-2")]
    tag = output.committed()[units[0].name]
    assert output.commit(units[0], fixed, "run-2", replaces=tag).stands
    shown = sample_rows(files, storage.read_with)
    assert sorted(one["position"] for one in shown) == [0, 1, 4, 5, 6, 7]
    assert write_report(shown, {}, {})


def test_died_marks_come_back(output):
    of, other = unit(0, 9), unit(10, 19)
    assert output.marks() == {}
    output.mark_died(of, [2, 5], alone=False)
    output.mark_died(of, [5], alone=True)
    output.mark_died(of, [5], alone=True)
    output.mark_died(of, [7], alone=True)
    output.mark_died(other, [11], alone=False)
    marks = output.marks()
    assert output.died(marks[of.name]) == ({2, 5, 7}, {5: 2, 7: 1})
    assert output.died(marks[other.name]) == ({11}, {})
    assert output.died([]) == (set(), {})


def test_run_json_is_the_newest_complete_run(output):
    def content(name: str) -> Any:
        data = storage.read(f"{output.address}/{name}")
        return None if data is None else json.loads(data)

    output.write_run({"run_id": "1", "state": "running"}, complete=False)
    assert content("run.json") is None
    assert content("runs/1.json") == {"run_id": "1", "state": "running"}
    output.write_run({"run_id": "1", "state": "完成"}, complete=True)
    output.write_run({"run_id": "2", "state": "unfinished"}, complete=False)
    assert content("run.json") == content("runs/1.json") == {"run_id": "1", "state": "完成"}
    assert content("runs/2.json") == {"run_id": "2", "state": "unfinished"}

"""Reading an output: what its footers say is so, and its rows are whole."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taiyi_ray import storage
from taiyi_ray.corpus.output import Totals, verify
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import StorageError
from taiyi_ray.job.output import JobOutput
from tests.job.outputs import row, rows, unit


def test_the_footer_counts_the_rows(output):
    of = unit(0, 5)
    output.commit(of, rows(of), "run-1")
    footer = output.footer(of)
    assert (footer.rows, footer.first, footer.last) == (6, 0, 5)
    assert (footer.unit, footer.run_id, len(footer.attempt)) == (of.name, "run-1", 32)
    assert footer.totals.as_dict() == {
        "documents": {"ok": 4, "failed": 2},
        "mentions": {"disease": 3, "(untyped)": 3},
        "relations": {"treatment": 3},
        "events": {"Binding": 3},
        "labels": {"tc: 治疗": 3},
        "texts": {"mt:zh": 3},
        "questions": {"ner": 6, "mt": 6},
        "wrong": {"mt": 6},
        "not_applicable": {"dialogue": 2},
        "failures": {"engine_error": 2},
        "tokens": {
            "prompt_tokens": 1020,
            "cached_tokens": 300,
            "output_tokens": 30,
            "questions": 12,
        },
        "answers": {"ner.squares": 150, "ner.tokens": 30, "mt.tokens": 0, "mt.squares": 0},
        "reused": {},
    }
    assert footer.totals == Totals.of(output.rows(of))


def test_what_is_committed(output):
    assert output.committed() == {}
    units = [unit(0, 3), unit(4, 6), unit(0, 3, "b.txt-76543210")]
    for of in units:
        output.commit(of, [row(n) for n in range(of.first, of.last + 1)], "run-1")
    storage.replace(f"{output.address}/annotations/_SUCCESS", b"")
    assert set(output.committed()) == {of.name for of in units}


def test_a_file_that_is_being_written_is_not_committed(local):
    folder = Path(local.path(unit(0, 3))).parent
    folder.mkdir(parents=True)
    (folder / ".taiyi_ray-abc.tmp").write_bytes(b"half")
    assert local.committed() == {}


def commit_as(output: JobOutput, of: Unit, held: Unit) -> None:
    """Put the rows of `held` where `of` belongs."""
    output.commit(held, rows(held), "run-1")
    Path(output.path(held)).rename(output.path(of))


def test_verify_adds_up_what_is_there(output):
    units = [unit(0, 3), unit(4, 6)]
    for of in units:
        output.commit(of, rows(of), "run-1")
    totals, _, wrong = verify(output, units)
    assert wrong == []
    assert totals == Totals.of(row(n) for n in range(7))


@pytest.mark.parametrize(
    ("held", "problem"),
    [
        (unit(0, 8), "holds 9 rows, 0 to 8, of unit"),
        (unit(1, 10), "holds 10 rows, 1 to 10, of unit"),
        (unit(0, 10), "holds 11 rows, 0 to 10, of unit"),
        (unit(0, 9, "other.txt-00000000"), "of unit 'other.txt-00000000/000000000-000000009'"),
    ],
)
def test_verify_finds_other_rows_than_planned(local, held, problem):
    good, bad = unit(10, 19), unit(0, 9)
    local.commit(good, rows(good), "run-1")
    commit_as(local, bad, held)
    (wrong,) = verify(local, [good, bad])[2]
    assert wrong.startswith(f"{local.path(bad)}: holds ")
    assert problem in wrong


def test_verify_finds_a_row_from_outside_the_unit(local):
    of = unit(0, 9)
    local.commit(of, rows(of), "run-1")
    table = pq.read_table(local.path(of))
    positions = pa.array([*range(9), 12], pa.int64())
    index = table.schema.get_field_index("position")
    pq.write_table(table.set_column(index, "position", positions), local.path(of))
    (wrong,) = verify(local, [of])[2]
    assert "holds 10 rows, 0 to 12" in wrong


@pytest.mark.parametrize("how", ["cut off", "empty", "no Parquet", "of another program", "no rows"])
def test_a_file_that_is_no_unit_is_named_with_the_way_out(local, how):
    of = unit(0, 3)
    local.commit(of, rows(of), "run-1")
    path = Path(local.path(of))
    match how:
        case "cut off":
            path.write_bytes(path.read_bytes()[:-10])
        case "empty":
            path.write_bytes(b"")
        case "no Parquet":
            path.write_bytes(b"hello " * 100)
        case "of another program":
            pq.write_table(pa.table({"a": [1]}), path)
        case "no rows":
            table = pq.read_table(path)
            pq.write_table(table.slice(0, 0), path)
    with pytest.raises(StorageError, match=rf"^{path}: is damaged, or was not .*; delete it"):
        verify(local, [of])


def test_a_unit_that_is_not_there_is_named(local):
    with pytest.raises(StorageError, match=r"000000000-000000003\.parquet: cannot be read"):
        verify(local, [unit(0, 3)])


def test_footers_come_in_order_and_for_many_units(local):
    units = [unit(n, n) for n in range(40)]
    for of in units:
        local.commit(of, rows(of), "run-1")
    found = list(local.footers(reversed(units)))
    assert [of for of, _ in found] == units[::-1]
    assert [footer.first for _, footer in found] == list(range(39, -1, -1))


@pytest.mark.parametrize("what", ["footer", "rows"])
def test_a_unit_that_another_run_does_again_while_it_is_read_is_whole(output, monkeypatch, what):
    of = unit(0, 3)
    output.commit(of, rows(of), "run-1")
    name = {"footer": "read_metadata", "rows": "ParquetFile"}[what]
    read, opened = getattr(pq, name), []

    def meanwhile(file: Any, **more: Any) -> Any:
        opened.append(file)
        if len(opened) == 1:
            tag = output.committed()[of.name]
            assert output.commit(of, rows(of, "run-2"), "run-2", replaces=tag).stands
        return read(file, **more)

    monkeypatch.setattr(pq, name, meanwhile)
    again = output.address.startswith("s3")  # a local file is read to its end, though replaced
    if what == "footer":
        assert output.footer(of).run_id == ("run-2" if again else "run-1")
    else:
        assert {r["run_id"] for r in output.rows(of)} == {"run-2" if again else "run-1"}
    assert len(opened) == (2 if again else 1)


def test_totals_of_an_older_footer_are_read():
    assert Totals.from_dict({"documents": {"ok": 2}}) == Totals(Counter({"ok": 2}))


def test_labels_beyond_the_most_frequent_are_counted_together():
    def labelled(*names: str) -> dict[str, Any]:
        labels = [{"task": "tc", "label": name, "score": None} for name in names]
        return row(0) | {"labels": labels}

    few = Totals.of([labelled("a", "a", "b")])
    assert few.labels == {"tc: a": 2, "tc: b": 1}
    many = Totals.of([labelled("a", *(str(n) for n in range(500)))] * 2)
    many.add(few)
    assert len(many.labels) == 200
    assert many.labels["tc: a"] == 4
    assert many.labels.total() == 2 * 501 + 3
    assert many.labels["(others)"] == many.labels.total() - 4 - 2 * 198


def test_totals_come_back_from_json():
    totals = Totals.of(row(n) for n in range(5))
    assert Totals.from_dict(json.loads(json.dumps(totals.as_dict()))) == totals
    assert Totals.of([]) == Totals()

"""The output: a unit is there whole or not at all, and what its footer says is so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taiyi_ray import storage
from taiyi_ray.annotate.output import JobOutput
from taiyi_ray.annotate.report import sample_rows, write_report
from taiyi_ray.annotator import Annotated
from taiyi_ray.corpus.output import Totals, verify
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import StorageError
from taiyi_ray.records import (
    SCHEMA,
    Annotations,
    Answer,
    Argument,
    Document,
    Event,
    Failure,
    Label,
    Mention,
    Relation,
    Text,
    passages,
)

SOURCE = "a%2F病历.jsonl-01234567"


def unit(first: int, last: int, source: str = SOURCE) -> Unit:
    return Unit(source=source, path="/in/a.jsonl", first=first, last=last)


def row(position: int, run_id: str = "run-1") -> dict[str, Any]:
    """A row with something in it: every third one failed, every second one has findings."""
    document = Document(
        f"d{position}",
        passages([("text", "zh", "糖尿病 😀 metformin")]),
        metadata={"year": "2020"},
        source=SOURCE,
        position=position,
    )
    annotated = Annotated(document)
    if position % 2:
        annotated.annotations = Annotations(
            mentions=[
                Mention(0, "disease", "糖尿病", 0, 3, passage=0),
                Mention(1, None, "nowhere", None, None, grounded="none"),
            ],
            relations=[Relation(0, "treatment", "metformin", "糖尿病", [], [0], 0.5)],
            events=[Event(0, "Binding", 0, [Argument("Theme", 1, "nowhere")])],
            labels=[Label("tc", "治疗", 0.5)],
            texts=[Text("mt:zh", "糖尿病")],
        )
    if position % 3 == 0:
        annotated.status = "failed"
        annotated.errors = [
            Failure("engine_error", "ner", "refused"),
            Failure("not_applicable", "dialogue", "no turns"),
        ]
    annotated.answers = [
        Answer("ner", ["disease"], "zh", 0, 0, "疾病：糖尿病", 100, 50, 5, "stop", None),
        Answer("mt:zh", [], "zh", 0, 0, None, 70, 0, 0, None, "engine_error"),
    ]
    made = annotated.row(unit="", run_id=run_id, fingerprint="f")
    return made


def rows(of: Unit, run_id: str = "run-1") -> list[dict[str, Any]]:
    return [row(n, run_id) | {"unit": of.name} for n in range(of.first, of.last + 1)]


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> JobOutput:
    if request.param == "s3":
        return JobOutput(f"{request.getfixturevalue('bucket')}/out")
    return JobOutput(str(tmp_path / "out"))


@pytest.fixture
def local(tmp_path: Path) -> JobOutput:
    return JobOutput(str(tmp_path / "out"))


# ----------------------------------------------------------------------------------------- commit


def test_a_unit_holds_its_rows_in_the_schema_of_the_contract(output):
    of = unit(3, 8)
    assert output.commit(of, rows(of), "run-1").stands
    assert output.path(of) == f"{output.place}/annotations/{SOURCE}/000000003-000000008.parquet"
    with storage.open_read(output.path(of)) as file:
        schema = pq.read_schema(file)
    assert schema.equals(SCHEMA)
    assert [field.metadata for field in schema] == [field.metadata for field in SCHEMA]
    expected = pa.Table.from_pylist(rows(of), SCHEMA).to_pylist()
    assert output.rows(of) == expected
    assert output.rows(of)[0]["mentions"][0]["text"] == "糖尿病"


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
    }
    assert footer.totals == Totals.of(output.rows(of))


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


# ---------------------------------------------------------------------------------------- listing


def test_what_is_committed(output):
    assert output.committed() == {}
    units = [unit(0, 3), unit(4, 6), unit(0, 3, "b.txt-76543210")]
    for of in units:
        output.commit(of, [row(n) for n in range(of.first, of.last + 1)], "run-1")
    storage.replace(f"{output.place}/annotations/_SUCCESS", b"")
    assert set(output.committed()) == {of.name for of in units}


def test_a_file_that_is_being_written_is_not_committed(local):
    folder = Path(local.path(unit(0, 3))).parent
    folder.mkdir(parents=True)
    (folder / ".taiyi_ray-abc.tmp").write_bytes(b"half")
    assert local.committed() == {}


# ----------------------------------------------------------------------------------------- verify


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
    with pytest.raises(StorageError, match=rf"^{path}: is not a file of this .*; delete it"):
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
    name = {"footer": "read_metadata", "rows": "read_table"}[what]
    read, opened = getattr(pq, name), []

    def meanwhile(file: Any) -> Any:
        opened.append(file)
        if len(opened) == 1:
            tag = output.committed()[of.name]
            assert output.commit(of, rows(of, "run-2"), "run-2", replaces=tag).stands
        return read(file)

    monkeypatch.setattr(pq, name, meanwhile)
    again = output.place.startswith("s3")  # a local file is read to its end, though replaced
    if what == "footer":
        assert output.footer(of).run_id == ("run-2" if again else "run-1")
    else:
        assert {r["run_id"] for r in output.rows(of)} == {"run-2" if again else "run-1"}
    assert len(opened) == (2 if again else 1)


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


# ------------------------------------------------------------------------------------- died marks


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


# ------------------------------------------------------------------------------------------- runs


def test_run_json_is_the_newest_complete_run(output):
    def content(name: str) -> Any:
        data = storage.read(f"{output.place}/{name}")
        return None if data is None else json.loads(data)

    output.write_run({"run_id": "1", "state": "running"}, complete=False)
    assert content("run.json") is None
    assert content("runs/1.json") == {"run_id": "1", "state": "running"}
    output.write_run({"run_id": "1", "state": "完成"}, complete=True)
    output.write_run({"run_id": "2", "state": "unfinished"}, complete=False)
    assert content("run.json") == content("runs/1.json") == {"run_id": "1", "state": "完成"}
    assert content("runs/2.json") == {"run_id": "2", "state": "unfinished"}


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

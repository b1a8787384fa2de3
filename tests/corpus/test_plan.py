"""The plan: sources cut into units, written once, extended, never changed."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from taiyi_ray import storage
from taiyi_ray.corpus import plan as plan_module
from taiyi_ray.corpus.plan import (
    UNIT_RECORDS,
    Identity,
    Job,
    Part,
    Plan,
    add_part,
    load_job,
    load_plan,
    put_job,
)
from taiyi_ray.corpus.source import PlannedSource, Source
from taiyi_ray.corpus.sources import SourceFile, find
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError
from taiyi_ray.job import planning


def lines(folder: Path, name: str, records: int) -> Path:
    path = folder / name
    path.write_text('{"document_id": "d", "text": "t"}\n' * records)
    return path


def extend(
    plan: Plan,
    sources: Sequence[Source],
    limit: int | None,
    engines: int,
    identities: dict[str, Identity] | None = None,
) -> Part:
    """What is added to the plan, scanned in this process."""
    scan = planning._scan_here
    return plan_module.extend(plan, sources, limit, engines, scan, identities or {})


def files(*paths: Path) -> list[SourceFile]:
    return find([str(path) for path in paths]).files


def ranges(plan: Plan) -> dict[str, list[tuple[int, int]]]:
    """The units of each source, by the file's name."""
    found: dict[str, list[tuple[int, int]]] = {}
    for unit in plan.units():
        found.setdefault(Path(unit.path).name, []).append((unit.first, unit.last))
    return found


# ----------------------------------------------------------------------------------------- extend


@pytest.mark.parametrize(
    ("records", "engines", "most"),
    [(0, 1, 1), (7, 1, 1), (80, 1, 10), (80, 2, 5), (80, 100, 1), (20_000, 1, UNIT_RECORDS)],
)
def test_a_small_corpus_gives_every_engine_eight_units(tmp_path, records, engines, most):
    path = lines(tmp_path, "a.jsonl", records)
    part = extend(Plan([]), files(path), None, engines)
    sizes = [last - first + 1 for first, last in part.sources[0].units]
    assert max(sizes) == most
    assert sum(sizes) == max(records, 1)  # an empty file is one record: it becomes a failed row


def test_the_size_of_units_is_that_of_the_whole_corpus(tmp_path):
    paths = [lines(tmp_path, f"{n}.jsonl", 40) for n in range(4)]
    part = extend(Plan([]), files(*paths), None, 1)
    assert [source.units for source in part.sources] == [[(0, 19), (20, 39)]] * 4
    assert [source.complete for source in part.sources] == [True] * 4


def test_a_limit_ends_in_the_middle_of_a_file_and_can_be_moved_and_lifted(tmp_path):
    given_files = files(*(lines(tmp_path, f"{n}.jsonl", 10) for n in range(4)))
    plan = Plan([extend(Plan([]), given_files, 15, 1)])
    assert plan.records == 15
    assert {name: units[-1][1] for name, units in ranges(plan).items()} == {
        "0.jsonl": 9,
        "1.jsonl": 4,
    }
    assert [source.complete for source in plan.sources.values()] == [True, False]

    assert extend(plan, given_files, 15, 1).sources == []
    assert extend(plan, given_files, 3, 1).sources == []

    plan = Plan([*plan.parts, extend(plan, given_files, 21, 1)])
    assert plan.records == 21
    assert list(plan.sources.values())[1].complete

    plan = Plan([*plan.parts, extend(plan, given_files, None, 1)])
    assert plan.records == 40
    for units in ranges(plan).values():
        assert [n for low, high in units for n in range(low, high + 1)] == list(range(10))
    assert extend(plan, given_files, None, 1).sources == []


def test_a_limit_at_the_end_of_a_file_leaves_it_complete(tmp_path):
    given_files = files(lines(tmp_path, "a.jsonl", 5), lines(tmp_path, "b.jsonl", 5))
    (source,) = extend(Plan([]), given_files, 5, 1).sources
    assert (source.records, source.complete) == (5, True)


def test_a_new_file_is_added_and_what_is_planned_stays(tmp_path):
    old = lines(tmp_path, "b.jsonl", 10)
    plan = Plan([extend(Plan([]), files(old), None, 1)])
    before = list(plan.units())
    new = lines(tmp_path, "a.jsonl", 3)
    part = extend(plan, files(new, old), None, 1)
    assert [source.records for source in part.sources] == [3]
    assert list(Plan([*plan.parts, part]).units())[: len(before)] == before


def test_a_file_that_changed_since_it_was_planned_is_refused(tmp_path):
    path = lines(tmp_path, "a.jsonl", 10)
    plan = Plan([extend(Plan([]), files(path), None, 1)])
    lines(tmp_path, "a.jsonl", 11)
    with pytest.raises(ConfigError, match="changed since its units were planned"):
        extend(plan, files(path), None, 1)


def test_what_was_begun_is_not_gone_on_with_where_the_format_is_read_otherwise_now(tmp_path):
    given_files = files(lines(tmp_path, "a.jsonl", 10))
    part = extend(Plan([]), given_files, 5, 1)
    older = part.sources[0].model_copy(update={"format_version": 0})
    with pytest.raises(
        ConfigError, match=r"a\.jsonl: was planned by another .* reads jsonl differently"
    ):
        extend(Plan([Part(sources=[older])]), given_files, None, 1)
    assert (
        PlannedSource.model_validate(older.model_dump(exclude={"format_version"})).format_version
        == 1
    ), "programs before it was kept had the first"


def test_a_file_is_the_one_that_was_planned_however_it_is_named_now(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    lines(tmp_path / "in" / "deep", "a.jsonl", 10)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    given = [
        f"{tmp_path}/{one}" for one in ("in/deep", "in", "link", "in/deep/a.jsonl", "link/*/*")
    ]
    spelled = [f"local://{one}" for one in given]
    for first in given:
        part = extend(Plan([]), find([first]).files, 4, 1)
        plan = Plan([part])
        for now in (*given, *spelled):
            assert extend(plan, find([now]).files, 4, 1).sources == []
            (rest,) = extend(plan, find([now]).files, None, 1).sources
            assert (rest.name, rest.records) == (part.sources[0].name, 10)
            assert Plan([part, Part(sources=[rest])]).records == 10


def test_a_plan_that_an_older_program_made_of_another_spelling_goes_on(tmp_path):
    path = lines(tmp_path, "a.jsonl", 10)
    (new,) = extend(Plan([]), files(path), None, 1).sources
    older = new.model_copy(update={"name": "a.jsonl-00000000", "path": f"file://{path}"})
    values = older.model_dump()
    del values["beside"]
    plan = Plan([Part.model_validate({"sources": [values]})])
    assert plan.sources["a.jsonl-00000000"].beside is None
    assert extend(plan, files(path), None, 1).sources == []
    lines(tmp_path, "a.jsonl", 11)
    with pytest.raises(ConfigError, match="changed since its units were planned"):
        extend(plan, files(path), None, 1)


def test_a_text_that_changed_beside_its_annotations_is_refused(tmp_path):
    (tmp_path / "a.ann").write_text("T1\tGene 0 3\tTNF\n")
    (tmp_path / "a.txt").write_text("TNF in mice")
    given = files(tmp_path / "a.ann")
    plan = Plan([extend(Plan([]), given, None, 1)])
    (source,) = plan.sources.values()
    assert [Path(file.path).name for file in source.beside or ()] == ["a.txt"]
    assert (
        Job.model_validate_json(
            a_job("x").model_copy(update={"part": plan.parts[0]}).model_dump_json()
        ).part
        == plan.parts[0]
    )
    os.utime(tmp_path / "a.txt", (1, 1))
    assert extend(plan, files(tmp_path / "a.ann"), None, 1).sources == []
    (tmp_path / "a.txt").write_text("TNF in rats")
    with pytest.raises(ConfigError, match=r"a\.txt: changed since its units were planned"):
        extend(plan, files(tmp_path / "a.ann"), None, 1)


# ------------------------------------------------------------------------------------------- scan


@pytest.mark.parametrize(
    ("first", "most", "expected"),
    [
        (0, None, (3, True)),
        (1, None, (2, True)),
        (3, None, (0, True)),
        (0, 2, (2, False)),
        (0, 3, (3, True)),
        (1, 1, (1, False)),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_scanning_from_a_record_on(tmp_path, name, first, most, expected):
    path, data = tmp_path / name, b'{"a": 1}\n{"b": 12}\n{}\n'
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (file,) = files(path)
    _, sizes, complete = file.record_sizes(first, most)
    assert (len(sizes), complete) == expected
    assert list(sizes) == [8, 9, 2][first : first + len(sizes)]


# ------------------------------------------------------------------------------------------ units


def test_the_name_of_a_unit_sorts_by_its_first_record():
    units = [Unit(source="s", path="p", first=n, last=n + 9) for n in (0, 90, 1000)]
    names = [unit.name for unit in units]
    assert names == ["s/000000000-000000009", "s/000000090-000000099", "s/000001000-000001009"]
    assert units[0].records == 10


# ------------------------------------------------------------------------------- parts in storage


def part(name: str) -> Part:
    source = PlannedSource(
        name=name,
        path=f"/in/{name}",
        format="jsonl",
        size=1,
        tag="t",
        sha256=None,
        complete=True,
        units=[(0, 4)],
    )
    return Part(sources=[source])


def a_job(name: str) -> Job:
    return Job(
        fingerprint="f", identity={"a": 1}, config={"名": "值"}, versions={}, part=part(name)
    )


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/out"
    return str(tmp_path / "out")


def test_of_two_jobs_the_first_counts(output):
    assert load_job(output) is None
    assert put_job(output, a_job("one"))
    assert not put_job(output, a_job("two"))
    assert load_job(output) == a_job("one")


def test_of_two_parts_with_one_number_the_first_counts_and_a_gap_ends_the_plan(output):
    put_job(output, a_job("one"))
    assert add_part(output, 1, part("two"))
    assert not add_part(output, 1, part("three"))
    assert add_part(output, 3, part("beyond a gap"))
    plan = load_plan(output, a_job("one"))
    assert list(plan.sources) == ["one", "two"]
    assert plan.records == 10


@pytest.mark.parametrize("content", ["{}", "not json", '{"format": 1}'])
def test_a_job_file_of_something_else_is_refused(output, content):
    storage.replace(f"{output}/job.json", content.encode())
    with pytest.raises(
        ConfigError, match=r"job\.json: was not written by this program; choose another"
    ):
        load_job(output)


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="out: is a file; name a folder"):
        load_job(str(tmp_path / "out"))

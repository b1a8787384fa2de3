"""The export: which files come of which rows, what they say, and what could not be said."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taiyi_ray import storage
from taiyi_ray.annotation import Annotated, failed
from taiyi_ray.corpus import sources
from taiyi_ray.corpus.output import Output, day_of, new_run_id
from taiyi_ray.corpus.plan import Job, Part, add_part, put_job
from taiyi_ray.corpus.source import PlannedSource
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import WRITTEN, documents, named, recognised
from taiyi_ray.job.export import export
from taiyi_ray.job.output import JobOutput
from taiyi_ray.records import (
    Annotations,
    Concept,
    Document,
    Mention,
    annotations_from_row,
    document_from_row,
    passages,
)
from tests.formats.annotated import check_contracts, comparable
from tests.job.jobs import annotate, table

RUN = "20260301T120000-abcdef"

BIOC = """<?xml version="1.0"?><collection><source/><date/><key/>
<document><id>1</id><passage><infon key="type">title</infon><offset>0</offset>
<text>Metformin in mice</text></passage>
<passage><infon key="type">abstract</infon><offset>18</offset>
<text>Insulin and aspirin with metformin after stroke in patients.</text>
<annotation id="1"><infon key="type">Chemical</infon><location offset="18" length="7"/>
<text>Insulin</text></annotation></passage></document>
<document><passage><offset>0</offset><text>No id</text></passage></document>
<document><id>3</id><passage><infon key="type">title</infon><offset>0</offset>
<text>糖尿病 and 😀 cocaine</text></passage></document>
</collection>"""


def a_document(position: int, document_id: str, source: str) -> Annotated:
    text = f"Aspirin {position} 😀 helps"
    document = Document(document_id, passages([("title", "en", text)]), title=text)
    document.source, document.position = source, position
    mention = Mention(0, "chemical", "Aspirin", 0, 7, passage=0, concept=Concept("MESH", "D1"))
    return Annotated(document, Annotations([mention]))


SOURCES = [
    sources.source_name(path, "/in")
    for path in ("/in/a.jsonl", "/in/A.jsonl", "/in/b/a.jsonl", "/in/b%2Fa.jsonl", "/in/a")
]


def an_output(folder: Path, ids: list[str], *, committed: int | None = None) -> tuple[str, str]:
    """An output of units of two documents each, of one source; the third document failed."""
    source = "a.jsonl-01234567"
    return an_output_of(folder, {source: ids}, committed=committed), source


def an_output_of(
    folder: Path, ids: dict[str, list[str]], *, committed: int | None = None, parts: int = 1
) -> str:
    """The same of several sources, whose units several parts of the plan may share."""
    output = str(folder / "out")
    planned: list[list[PlannedSource]] = [[] for _ in range(parts)]
    for source, names in ids.items():
        units = [(n, min(n + 1, len(names) - 1)) for n in range(0, len(names), 2)]
        for number, part in enumerate(planned):
            part.append(
                PlannedSource(
                    name=source, path="/a.jsonl", format="jsonl", size=1, tag="", sha256=None,
                    complete=True, units=units[number::parts],
                )
            )  # fmt: skip
        for first, last in units[:committed]:
            unit = Unit(source=source, path="/a.jsonl", first=first, last=last)
            found = [a_document(n, names[n], source) for n in range(first, last + 1)]
            if first == 2:
                found[0] = failed(found[0].document, "test", "wrong")
            rows = [one.row(unit=unit.name, run_id=RUN, fingerprint="f") for one in found]
            JobOutput(output).commit(unit, rows, RUN)
    first_part, *others = (Part(sources=part) for part in planned)
    put_job(output, Job(fingerprint="f", identity={}, config={}, versions={}, part=first_part))
    for number, part_of_plan in enumerate(others, 1):
        assert add_part(output, number, part_of_plan)
    return output


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def read(path: Path) -> list[Document]:
    with path.open("rb") as stream:
        format_ = recognised(str(path), stream) or named(path.suffix.removeprefix("."))
        return list(documents(stream, str(path), format_, "s", 0, 1 << 40, read=storage.read))


@pytest.mark.parametrize("name", [name for name in WRITTEN if name not in ("brat", "conll")])
def test_a_source_is_a_file(tmp_path, name):
    output, source = an_output(tmp_path, list("abcde"))
    exported = export(output, name, str(tmp_path / "to"))
    writer = named(name).writer
    assert writer is not None
    assert files(tmp_path / "to") == [f"{source}{writer.endings[0]}"]
    found = read(tmp_path / "to" / files(tmp_path / "to")[0])
    assert [(d.document_id, d.text) for d in found] == [
        (id_, f"Aspirin {n} 😀 helps") for n, id_ in enumerate("abcde") if id_ != "c"
    ]
    for document in found:
        assert comparable(document.gold) == comparable(a_document(0, "", "").annotations)
    assert exported.summary() == "4 documents in 1 files\nleft out: 1 failed documents"


def test_conll_has_the_tokens_and_their_tags_of_all_documents_of_a_source(tmp_path):
    output, source = an_output(tmp_path, list("abcde"))
    exported = export(output, "conll", str(tmp_path / "to"))
    (path,) = (tmp_path / "to").iterdir()
    assert path.name == f"{source}.conll"
    assert path.read_text() == "".join(
        f"-DOCSTART- ({id_})\tO\n\nAspirin\tB-chemical\n{n}\tO\n😀\tO\nhelps\tO\n\n"
        for n, id_ in enumerate("abcde")
        if id_ != "c"
    )
    assert [(d.document_id, d.gold.mentions[0].text) for d in read(path)] == [
        (id_, "Aspirin") for id_ in "abde"
    ]
    assert exported.lost == {"concepts: left out": 4}


def test_files_of_a_limited_number_of_documents(tmp_path):
    output, source = an_output(tmp_path, list("abcdefg"))
    exported = export(output, "bioc-xml", str(tmp_path / "to"), most=2)
    assert files(tmp_path / "to") == [f"{source}-{n:06d}.xml" for n in range(3)]
    found = [read(tmp_path / "to" / name) for name in files(tmp_path / "to")]
    assert [[d.document_id for d in part] for part in found] == [["a", "b"], ["d", "e"], ["f", "g"]]
    assert (exported.documents, exported.files) == (6, 3)


def test_brat_has_two_files_a_document_also_of_repeated_and_odd_ids(tmp_path):
    ids = ["x/1", "x/1", "failed", ".h", "病"]
    output, source = an_output(tmp_path, ids)
    exported = export(output, "brat", str(tmp_path / "to"))
    names = ["x%2F1", "000000001-x%2F1", "000000003-.h", "%E7%97%85"]
    assert files(tmp_path / "to") == sorted(
        f"{source}/{name}{ending}" for name in names for ending in (".txt", ".ann")
    )
    (document,) = read(tmp_path / "to" / source / "x%2F1.ann")
    assert comparable(document.gold) == comparable(a_document(0, "", "").annotations)
    assert (exported.documents, exported.files, exported.lost) == (4, 8, {})


IDS = st.text(st.sampled_from("aA01-."), max_size=3).flatmap(
    lambda tail: st.sampled_from(["", "000000000-", "000000001-", "000000003-", "000000004-"]).map(
        lambda head: head + tail
    )
)


@contextmanager
def paths_written() -> Iterator[list[str]]:
    """The paths of all files that are written meanwhile, as a disk that knows no case has them."""
    paths: list[str] = []
    written = storage.written

    def noted(path: str) -> Any:
        paths.append(path.lower())
        return written(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "written", noted)
        yield paths


@settings(max_examples=15, deadline=None)
@given(ids=st.lists(IDS, min_size=1, max_size=7))
@example(ids=["000000003-a", "a", "failed", "a"])
@example(ids=["a", "A", "failed", "000000001-a", "000000001-A"])
@example(ids=["000000001-a", "a", "failed", "a", "000000003-a", "000000004-000000003-a"])
@example(ids=["x" * 140 + "000000001-a", "x" * 300 + "000000001-a"])
def test_no_file_of_brat_is_written_twice_whatever_the_ids(ids):
    with tempfile.TemporaryDirectory() as folder, paths_written() as paths:
        output, source = an_output(Path(folder), ids)
        exported = export(output, "brat", f"{folder}/to")
        assert len(set(paths)) == len(paths) == exported.files == 2 * exported.documents
        to = Path(folder) / "to" / source
        texts = sorted(path.read_text() for path in to.glob("*.txt"))
        kept = [n for n in range(len(ids)) if n != 2]
        assert texts == [f"Aspirin {n} 😀 helps" for n in kept]
        for name in to.iterdir():
            assert not name.name.startswith(".") and len(name.name) < 200


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("most", [None, 1])
def test_no_file_of_any_format_is_written_twice(tmp_path, name, most):
    """Of sources whose names differ in case, of a source that several parts of the plan have."""
    output = an_output_of(tmp_path, {source: list("abcde") for source in SOURCES}, parts=2)
    with paths_written() as paths:
        exported = export(output, name, str(tmp_path / "to"), most)
    assert len(set(paths)) == len(paths) == exported.files
    assert exported.documents == 4 * len(SOURCES)
    found = [d.document_id for p in (tmp_path / "to").rglob("*") if p.is_file()
             if p.suffix != ".txt" for d in read(p)]  # fmt: skip
    assert len(found) == exported.documents


def test_an_unfinished_output_is_exported_as_far_as_it_is_there(tmp_path):
    output, _ = an_output(tmp_path, list("abcde"), committed=1)
    exported = export(output, "jsonl", str(tmp_path / "to"))
    assert exported.documents == 2
    assert exported.left_out == {"units that are not committed yet": 2}


@pytest.mark.parametrize("name", ["bioc-xml", "bioc-json"])
def test_a_file_of_bioc_is_of_the_day_of_the_run_that_made_it(tmp_path, name):
    output, _ = an_output(tmp_path, list("ab"))
    export(output, name, str(tmp_path / "to"))
    (file,) = (tmp_path / "to").iterdir()
    assert "2026-03-01" in file.read_text().splitlines()[0 if name == "bioc-json" else 2]
    assert day_of(RUN) == date(2026, 3, 1)
    assert abs((day_of(new_run_id()) - datetime.now(UTC).date()).days) <= 1


def test_a_second_export_gives_the_same_files_and_an_interrupted_one_no_half(tmp_path, monkeypatch):
    output, _ = an_output(tmp_path, list("abcde"))
    to = tmp_path / "to"
    export(output, "bioc-json", str(to))
    before = {name: (to / name).read_bytes() for name in files(to)}
    export(output, "bioc-json", str(to))
    assert {name: (to / name).read_bytes() for name in files(to)} == before
    rows = Output.rows

    def interrupted(self: Output, unit: Unit) -> list[dict[str, Any]]:
        if unit.first == 4:
            raise KeyboardInterrupt
        return rows(self, unit)

    monkeypatch.setattr(Output, "rows", interrupted)
    for place in (to, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            export(output, "bioc-json", str(place))
    assert {name: (to / name).read_bytes() for name in files(to)} == before
    assert files(tmp_path / "new") == []


def test_an_export_to_a_bucket(bucket, tmp_path):
    output, source = an_output(tmp_path, list("ab"))
    export(output, "pubtator", f"{bucket}/to")
    data = storage.read(f"{bucket}/to/{source}.pubtator")
    assert data is not None and data.startswith("a|t|Aspirin 0 😀 helps\n".encode())


@pytest.mark.parametrize(
    ("output", "name", "to", "problem"),
    [
        ("none", "brat", "to", r"no output of `taiyi-ray annotate` is there"),
        ("out", "bioc", "to", r"--format bioc: cannot be written; did you mean 'bioc-"),
        ("out", "pubmed", "to", r"--format pubmed: cannot be written.*known: bioc-xml, "),
        ("out", "brat", "out", r"--to .*/out: is in the output itself"),
        ("out", "brat", "out/annotations/x", r"is in the output itself"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path, output, name, to, problem):
    an_output(tmp_path, ["a"])
    with pytest.raises(ConfigError, match=problem):
        export(str(tmp_path / output), name, str(tmp_path / to))


def test_bioc_in_and_pubtator_out(tmp_path, ray_cluster, monkeypatch):
    """The corpus job from BioC, compressed, to rows, to PubTator that says what the rows say."""
    for name, value in ray_cluster.items():
        monkeypatch.setenv(name, value)
    source = tmp_path / "in" / "corpus.xml.gz"
    source.parent.mkdir()
    source.write_bytes(gzip.compress(BIOC.encode()))
    output = tmp_path / "out"
    annotate(source, "-o", output, "--engine", "fake", "--max-failed", "0.5")
    rows = table(output)
    assert [(r["document_id"], r["status"]) for r in rows] == [
        ("1", "ok"), (None, "failed"), ("3", "ok"),
    ]  # fmt: skip
    assert rows[1]["errors"][0]["kind"] == "no_document_id"
    assert any(row["mentions"] for row in rows)
    exported = export(str(output), "pubtator", str(tmp_path / "to"))
    assert exported.left_out == {"failed documents": 1}
    (file,) = (tmp_path / "to").iterdir()
    found = read(file)
    for document, row in zip(found, [rows[0], rows[2]], strict=True):
        check_contracts(document)
        assert document.passages == document_from_row(row).passages
        stated = annotations_from_row(row)
        located = Annotations([m for m in stated.mentions if m.start is not None])
        assert comparable(Annotations(document.gold.mentions)) == comparable(located)
    lost = exported.lost["relations of mentions without a concept: left out"]
    assert lost == sum(len(row["relations"]) for row in rows)

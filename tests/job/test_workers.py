"""The workers without Ray: reading a unit, taking turns at the engine, committing, poison."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taiyi_ray import storage
from taiyi_ray.annotation import Annotated, Annotator
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus import plan
from taiyi_ray.corpus import sources as sources_module
from taiyi_ray.corpus.plan import Identity, Part, put_job
from taiyi_ray.corpus.source import PlannedSource
from taiyi_ray.corpus.sources import SOURCE_KINDS, SourceFile
from taiyi_ray.corpus.units import Unit
from taiyi_ray.engine.engine import Completion
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.formats import documents, format_of
from taiyi_ray.job import workers
from taiyi_ray.job.asks import Ask
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.receipt import Fault, Receipt
from taiyi_ray.job.workers import AnnotateUnits, Turns, read_units, unit_row
from taiyi_ray.records import SCHEMA, Document, Failure, Label, Mention
from tests.samples import asked

TEXT = "Patients were treated with metformin, insulin and aspirin after stroke. "
ASSIGNMENTS = [asked(task, grammar=False, document_first=True) for task in ("ner", "re")]


def planned(
    path: Path, first: int, last: int, *, beside: tuple[Path, ...] = (), replaces: str = ""
) -> dict[str, Any]:
    """The row of a unit of this file."""
    name = f"{path.name}-01234567"
    stored = [storage.stat(str(one)) for one in (path, *beside)]
    format_ = format_of(path.name)
    assert format_ is not None
    source = PlannedSource(
        **dict(SourceFile(name, stored[0], tuple(stored[1:])).state()),
        name=name,
        format=format_.name,
        complete=True,
        units=[(first, last)],
    )
    unit = Unit(source=source.name, path=source.path, first=first, last=last)
    return unit_row(unit, source, replaces=replaces)


def test_a_unit_is_read_with_the_names_of_its_columns(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"pmid": "7", "abstract": "x"}\n')
    row = planned(path, 0, 0)
    (document,) = read_documents(row | {"columns": '{"document_id": "pmid", "text": "abstract"}'})
    assert (document["document_id"], document["passages"][0]["text"]) == ("7", "x")
    assert read_documents(row)[0]["status"] == "failed"


def test_a_unit_of_annotations_is_read_with_its_text(tmp_path):
    (tmp_path / "a.txt").write_text("TNF in mice")
    path = tmp_path / "a.ann"
    path.write_text("T1\tGene 0 3\tTNF\n")
    (document,) = read_documents(planned(path, 0, 0, beside=(tmp_path / "a.txt",)))
    assert (document["document_id"], document["passages"][0]["text"]) == ("a", "TNF in mice")


def unit_of(row: dict[str, Any]) -> Unit:
    return Unit.model_validate_json(row["unit"])


def read_unit(row: dict[str, Any]) -> dict[str, Any]:
    (read,) = read_units({"units": [row]}, SOURCE_KINDS)
    return read


def read_documents(row: dict[str, Any]) -> list[dict[str, Any]]:
    read = read_unit(row)
    assert read["error"] == ""
    return rows_of(read)


def rows_of(read: dict[str, Any]) -> list[dict[str, Any]]:
    return list(pa.ipc.open_stream(read["documents"]).read_all().to_pylist())


def json_lines(path: Path, texts: list[str]) -> Path:
    with path.open("w") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"document_id": f"d{number}", "text": text}) + "\n")
    return path


# ---------------------------------------------------------------------------------- reading a unit

PUBMED = (
    "<PubmedArticleSet>"
    + "".join(
        f'<PubmedArticle><MedlineCitation><PMID Version="1">{n}</PMID><Article><ArticleTitle>'
        f"Title {n}</ArticleTitle></Article></MedlineCitation></PubmedArticle>"
        for n in range(5)
    )
    + "</PubmedArticleSet>"
)
LINES = "".join(f'{{"document_id": "{n}", "text": "Title {n}"}}\n' for n in range(5))


@pytest.mark.parametrize(
    ("name", "content", "first", "last", "expected"),
    [
        ("a.xml", PUBMED, 1, 3, [("1", "Title 1"), ("2", "Title 2"), ("3", "Title 3")]),
        ("a.xml.gz", PUBMED, 4, 4, [("4", "Title 4")]),
        ("a.jsonl", LINES, 0, 1, [("0", "Title 0"), ("1", "Title 1")]),
        ("a.jsonl.gz", LINES, 3, 4, [("3", "Title 3"), ("4", "Title 4")]),
        ("病历.txt", "高血压", 0, 0, [("病历", "高血压")]),
    ],
)
def test_a_unit_is_read_from_its_first_to_its_last_record(
    tmp_path, name, content, first, last, expected
):
    path, data = tmp_path / name, content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    rows = read_documents(planned(path, first, last))
    assert [(r["document_id"], r["passages"][0]["text"]) for r in rows] == expected
    assert [r["position"] for r in rows] == list(range(first, last + 1))
    assert {r["source"] for r in rows} == {f"{name}-01234567"}


def test_units_of_a_source_are_read_in_one_pass(tmp_path, monkeypatch):
    opened = []
    open_read = storage.open_read
    monkeypatch.setattr(storage, "open_read", lambda path: opened.append(path) or open_read(path))
    path = json_lines(tmp_path / "a.jsonl", [str(n) for n in range(20)])
    spans = [(0, 0), (3, 5), (6, 6), (15, 19)]  # others are done
    read = list(read_units({"units": [planned(path, *span) for span in spans]}, SOURCE_KINDS))
    assert opened.count(str(path)) == len(spans) + 1  # those of `planned`, for the digest
    assert [unit_of(row).first for row in read] == [0, 3, 6, 15]
    for row, (first, last) in zip(read, spans, strict=True):
        texts = [r["passages"][0]["text"] for r in rows_of(row)]
        assert texts == [str(n) for n in range(first, last + 1)]


def test_what_ends_early_costs_the_units_behind_it_only(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", ["x"] * 6)
    spans = [(0, 2), (3, 7), (8, 9)]
    read = list(read_units({"units": [planned(path, *span) for span in spans]}, SOURCE_KINDS))
    assert [len(rows_of(row)) if row["documents"] else row["error"] for row in read] == [
        3,
        f"{path}: holds 3 of 5 planned records",
        f"{path}: holds 3 of 5 planned records",
    ]


def test_a_broken_record_is_read_as_a_failed_document(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"document_id": "a", "text": "t"}\nno json\n')
    good, bad = read_documents(planned(path, 0, 1))
    assert (good["status"], bad["status"]) == ("ok", "failed")
    assert (bad["document_id"], bad["errors"][0]["kind"]) == (None, "not_json")


def test_a_source_that_vanished_is_the_units_error(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", ["x"])
    row = planned(path, 0, 0)
    path.unlink()
    read = read_unit(row)
    assert read["error"].startswith(f"{path}: cannot be read")
    assert read["documents"] == b""


def test_a_source_that_changed_is_the_units_error(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", ["x"])
    row = planned(path, 0, 0)
    json_lines(path, ["y"])
    os.utime(path, (1, 1))
    assert "changed since its units were planned" in read_unit(row)["error"]


def test_a_text_that_changed_beside_its_annotations_is_the_units_error(tmp_path):
    text, path = tmp_path / "a.txt", tmp_path / "a.ann"
    text.write_text("TNF in mice")
    path.write_text("T1\tGene 0 3\tTNF\n")
    row = planned(path, 0, 0, beside=(text,))
    text.write_text("TNF in rats")
    assert read_unit(row)["error"].startswith(f"{text}: changed since its units were planned")
    text.unlink()
    assert read_unit(row)["error"].startswith(f"{text}: was removed after the units of {path}")


def test_a_document_that_arrow_cannot_hold_is_a_failed_one(tmp_path, monkeypatch):
    """Whatever a reader lets through."""
    path = json_lines(tmp_path / "a.jsonl", ["one", "two", "three"])

    def with_a_slip(*arguments: Any, **options: Any) -> Any:
        for document in documents(*arguments, **options):
            if document.position == 1:
                document.version, document.title = 1 << 40, "\ud800"
            yield document

    monkeypatch.setattr(sources_module, "documents", with_a_slip)
    rows = read_documents(planned(path, 0, 2))
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert rows[1]["errors"][0]["kind"] == "not_arrow"
    assert (rows[1]["source"], rows[1]["position"]) == ("a.jsonl-01234567", 1)


def test_a_source_that_was_only_touched_is_read(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", ["x"])
    row = planned(path, 0, 0)
    os.utime(path, (1, 1))
    assert len(read_documents(row)) == 1


def test_fewer_records_than_planned_are_the_units_error(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", ["x"] * 3)
    read = read_unit(planned(path, 1, 5))
    assert read["error"] == f"{path}: holds 2 of 5 planned records"
    assert read["documents"] == b""


# ------------------------------------------------------------------------------------------ turns


def test_many_share_and_one_is_alone():
    at_once: list[tuple[int, int]] = []
    inside = {"shared": 0, "alone": 0}

    async def take(turns: Turns, how: str) -> None:
        async with getattr(turns, how)():
            inside[how] += 1
            at_once.append((inside["shared"], inside["alone"]))
            await asyncio.sleep(0.002)
            inside[how] -= 1

    async def all_of_them() -> None:
        turns = Turns()
        kinds = ["shared", "shared", "alone", "shared", "alone", "alone", "shared"] * 3
        await asyncio.wait_for(asyncio.gather(*(take(turns, kind) for kind in kinds)), 10)

    asyncio.run(all_of_them())
    assert len(at_once) == 21
    assert {pair for pair in at_once if pair[1]} == {(0, 1)}
    assert max(shared for shared, _ in at_once) > 1


@pytest.mark.parametrize("first", ["shared", "alone"])
def test_an_error_gives_the_turn_back(first):
    async def fail_then_go_on() -> None:
        turns = Turns()
        with pytest.raises(ValueError, match="inside"):
            async with getattr(turns, first)():
                raise ValueError("inside")
        async with turns.alone():
            pass
        async with turns.shared():
            pass

    asyncio.run(asyncio.wait_for(fail_then_go_on(), 10))


# ---------------------------------------------------------------------------------- AnnotateUnits


class Exited(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(workers.os, "_exit", leave)


class Job:
    """An output, and actors of their own for each call."""

    def __init__(self, folder: Path, **engine_args: Any) -> None:
        self.output = JobOutput(str(folder / "out"))
        self.config = AnnotateConfig(
            inputs=["in"],
            output=self.output.address,
            engine="fake",
            engine_args=engine_args,
            context_length=4096,
        )

    def do(self, *rows: dict[str, Any], run_id: str = "run-1") -> list[Receipt]:
        """Annotate these units with one actor, all at once; return the receipts."""
        asks = {"": Ask(ASSIGNMENTS, Identity("fingerprint", {}))}
        actor = AnnotateUnits(self.config, asks, "fake", run_id)

        async def one(row: dict[str, Any]) -> Receipt:
            batch = pa.Table.from_pylist([read_unit(row)])
            (receipt,) = [r async for r in actor(batch)]
            (values,) = pa.Table.from_pydict(receipt).to_pylist()
            return Receipt.from_row(values)

        async def all_of_them() -> list[Receipt]:
            return await asyncio.gather(*map(one, rows))

        return asyncio.run(all_of_them())

    def rows(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        return self.output.rows(unit_of(row))

    def statuses(self, row: dict[str, Any]) -> list[tuple[str, str | None]]:
        """Status and kind of the first error, for each document of a unit."""
        return [
            (r["status"], r["errors"][0]["kind"] if r["errors"] else None) for r in self.rows(row)
        ]


def annotate_failing_at(
    *positions: int,
) -> Callable[[Annotator, Document], Awaitable[Annotated]]:
    """Annotator.annotate with a bug that shows at some documents."""
    annotate = Annotator.annotate

    async def with_a_bug(self: Annotator, document: Document) -> Annotated:
        if document.position in positions:
            raise ZeroDivisionError("a bug")
        return await annotate(self, document)

    return with_a_bug


def test_a_unit_is_committed_and_its_receipt_counts_it(tmp_path):
    job = Job(tmp_path)
    path = json_lines(tmp_path / "a.jsonl", [TEXT * n for n in range(1, 5)])
    row = planned(path, 1, 3)
    (receipt,) = job.do(row)
    rows = job.rows(row)
    assert [(r["document_id"], r["status"]) for r in rows] == [
        ("d1", "ok"),
        ("d2", "ok"),
        ("d3", "ok"),
    ]
    assert {(r["unit"], r["run_id"], r["fingerprint"]) for r in rows} == {
        (unit_of(row).name, "run-1", "fingerprint")
    }
    assert receipt == Receipt(
        unit=unit_of(row).name,
        engine=receipt.engine,
        ready=receipt.ready,
        made=receipt.made,
        documents=3,
        prompt_tokens=sum(a["prompt_tokens"] for r in rows for a in r["answers"]),
        output_tokens=sum(a["output_tokens"] for r in rows for a in r["answers"]),
    )
    assert 0 < receipt.ready <= receipt.made
    assert receipt.output_tokens > 0


def test_a_unit_that_could_not_be_read_is_not_committed(tmp_path):
    job = Job(tmp_path)
    path = json_lines(tmp_path / "a.jsonl", ["x"])
    (receipt,) = job.do(planned(path, 0, 4))
    assert receipt.error == f"{path}: holds 1 of 5 planned records"
    assert (receipt.documents, job.output.committed()) == (0, {})


def test_a_unit_that_is_there_already_stays(tmp_path):
    job = Job(tmp_path)
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT]), 0, 0)
    job.do(row, run_id="run-1")
    assert job.do(row, run_id="run-2")[0].error == ""
    assert [r["run_id"] for r in job.rows(row)] == ["run-1"]


def test_without_an_engine_every_unit_gets_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_HOLD", 0.1)
    job = Job(tmp_path, start_error="the GPU is on fire")
    path = json_lines(tmp_path / "a.jsonl", [TEXT] * 4)
    receipts = job.do(planned(path, 0, 1), planned(path, 2, 3))
    for receipt in receipts:
        assert receipt.fault is Fault.NO_ENGINE
        assert receipt.error.startswith("no engine could be started (")
        assert receipt.error.endswith("): the GPU is on fire")
    assert job.output.committed() == {}


def test_an_actor_without_an_engine_does_not_take_unit_after_unit(tmp_path, monkeypatch):
    """The first answer comes at once; each later one after a while, in which others can work."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(workers, "_HOLD", 12.5)
    monkeypatch.setattr(workers.asyncio, "sleep", sleep)
    job = Job(tmp_path, start_error="the GPU is on fire")
    path = json_lines(tmp_path / "a.jsonl", [TEXT] * 3)
    receipts = job.do(*(planned(path, n, n) for n in range(3)))
    assert {receipt.fault for receipt in receipts} == {Fault.NO_ENGINE}
    assert waited == [12.5, 12.5]


def test_the_reason_is_the_last_cause_in_the_log(tmp_path):
    """A real engine says only in its child's log why it did not start."""
    script = (
        "import sys\n"
        "print('INFO all is well', file=sys.stderr)\n"
        "print('ERROR [core.py:1] ValueError: no memory for the cache', file=sys.stderr)\n"
        "print('RuntimeError: Engine core initialization failed.', file=sys.stderr, flush=True)\n"
        "from tests.job.test_workers import Job, json_lines, planned\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1])\n"
        "row = planned(json_lines(folder / 'a.jsonl', ['x']), 0, 0)\n"
        "print(Job(folder, start_error='see the log').do(row)[0].error)"
    )
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
    assert done.stdout.startswith("no engine could be started (")
    assert done.stdout.endswith("): ValueError: no memory for the cache\n")


def test_a_bug_at_one_document_is_one_failed_row(tmp_path, monkeypatch, caplog):
    job = Job(tmp_path)
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT] * 3), 0, 2)
    monkeypatch.setattr(Annotator, "annotate", annotate_failing_at(1))
    (receipt,) = job.do(row)
    assert (receipt.error, receipt.failed) == ("", 1)
    assert job.statuses(row) == [("ok", None), ("failed", "internal_error"), ("ok", None)]
    assert job.rows(row)[1]["errors"][0]["message"] == "ZeroDivisionError: a bug"
    assert "Traceback" in caplog.text


def test_only_failed_and_partial_documents_are_done_again(tmp_path, monkeypatch):
    job = Job(tmp_path)
    path = json_lines(tmp_path / "a.jsonl", [TEXT] * 4)
    with monkeypatch.context() as with_bug:
        with_bug.setattr(Annotator, "annotate", annotate_failing_at(1, 2))
        job.do(planned(path, 0, 3), run_id="run-1")
    (tag,) = job.output.committed().values()
    row = planned(path, 0, 3, replaces=tag)
    (receipt,) = job.do(row, run_id="run-2")
    assert (receipt.documents, receipt.failed) == (4, 0)
    assert [(r["status"], r["run_id"]) for r in job.rows(row)] == [
        ("ok", "run-1"),
        ("ok", "run-2"),
        ("ok", "run-2"),
        ("ok", "run-1"),
    ]


@pytest.mark.parametrize("kind", ["half a character", "a count", "both"])
def test_what_arrow_cannot_hold_costs_no_unit(tmp_path, monkeypatch, kind):
    complete = FakeEngine.complete

    async def odd(*arguments: Any) -> Completion:
        completion = await complete(*arguments)
        if "ODD" in arguments[1].window.text:
            if kind != "a count":
                completion = replace(completion, text=f"{completion.text}; \ud83d")
            if kind != "half a character":
                completion = replace(completion, prompt_tokens=1 << 40, output_tokens=-1)
        return completion

    monkeypatch.setattr(FakeEngine, "complete", odd)
    job = Job(tmp_path)
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT, f"ODD {TEXT}", TEXT]), 0, 2)
    (receipt,) = job.do(row)
    assert (receipt.error, receipt.documents) == ("", 3)
    rows = job.rows(row)
    assert (rows[0]["status"], rows[2]["status"]) == ("ok", "ok")
    assert rows[1]["mentions"]
    answers = rows[1]["answers"]
    assert all(a["raw"].endswith("; \ufffd") == (kind != "a count") for a in answers)
    if kind != "half a character":
        assert {(a["prompt_tokens"], a["output_tokens"]) for a in answers} == {((1 << 31) - 1, 0)}


def test_a_row_that_arrow_refuses_is_a_failed_one_and_the_others_are_committed(
    tmp_path, monkeypatch
):
    annotate = Annotator.annotate

    async def with_a_bug(self: Annotator, document: Document) -> Annotated:
        annotated = await annotate(self, document)
        if document.position == 1:
            annotated.annotations.labels = [Label("tc", "\udc00", 0.5)]
            annotated.errors = [Failure("x", "\ud800", "why")]
        if document.position == 2:
            annotated.annotations.mentions = [Mention(1 << 40, "a", "b", 0, 1)]
        return annotated

    monkeypatch.setattr(Annotator, "annotate", with_a_bug)
    job = Job(tmp_path)
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT] * 4), 0, 3)
    (receipt,) = job.do(row)
    assert (receipt.error, receipt.documents, receipt.failed) == ("", 4, 2)
    rows = job.rows(row)
    assert [r["status"] for r in rows] == ["ok", "failed", "failed", "ok"]
    assert [r["document_id"] for r in rows] == ["d0", "d1", "d2", "d3"]
    assert [e["kind"] for e in rows[1]["errors"]] == ["x", "not_arrow"]
    assert rows[1]["errors"][0]["where"] == "\ufffd"
    assert "a row cannot hold what the answers say" in rows[2]["errors"][0]["message"]
    assert rows[1]["passages"][0]["text"] == TEXT
    footer = job.output.footer(unit_of(row))
    assert footer.totals.documents == {"ok": 2, "failed": 2}


def test_rows_of_an_older_schema_are_kept_when_others_are_done_again(tmp_path, monkeypatch):
    job = Job(tmp_path)
    path = json_lines(tmp_path / "a.jsonl", [TEXT] * 3)
    with monkeypatch.context() as with_bug:
        with_bug.setattr(Annotator, "annotate", annotate_failing_at(1))
        job.do(planned(path, 0, 2))
    unit = Path(job.output.path(unit_of(planned(path, 0, 2))))
    table = pq.read_table(unit)
    answers = [
        [{k: v for k, v in one.items() if k != "cached_tokens"} for one in of]
        for of in table.column("answers").to_pylist()
    ]
    table = table.drop_columns(["events", "texts", "content_hash", "answers"])
    pq.write_table(table.append_column("answers", pa.array(answers)), unit)
    (tag,) = job.output.committed().values()
    (receipt,) = job.do(planned(path, 0, 2, replaces=tag), run_id="run-2")
    assert (receipt.error, receipt.documents, receipt.failed) == ("", 3, 0)
    rows = job.rows(planned(path, 0, 2))
    assert [r["run_id"] for r in rows] == ["run-1", "run-2", "run-1"]
    assert rows[0]["events"] == rows[0]["texts"] == []
    assert rows[0]["mentions"] == rows[1]["mentions"] != []
    assert pq.read_schema(unit).equals(SCHEMA)


def test_an_output_that_does_not_take_a_unit_is_to_be_changed(tmp_path):
    job = Job(tmp_path)
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT]), 0, 0)
    (tmp_path / "out").write_text("a file where the folder should be")
    (receipt,) = job.do(row)
    assert "cannot be written" in receipt.error or "cannot be listed" in receipt.error
    assert receipt.fault is Fault.UNWRITABLE


def test_a_source_that_vanished_is_to_be_changed_and_no_fault_of_the_output(tmp_path):
    job = Job(tmp_path)
    path = json_lines(tmp_path / "a.jsonl", [TEXT])
    row = planned(path, 0, 0)
    path.unlink()
    (receipt,) = job.do(row)
    assert receipt.fault is Fault.UNREADABLE


# ----------------------------------------------------------------------------------------- poison


def test_a_dead_engine_leaves_a_mark_on_what_was_in_flight_and_ends_the_process(tmp_path, exits):
    job = Job(tmp_path, die_on="POISON")
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT, "POISON", TEXT]), 0, 2)
    other = planned(json_lines(tmp_path / "b.jsonl", [TEXT]), 0, 0)
    with pytest.raises(Exited):
        job.do(row, other)
    assert unit_of(row).name not in job.output.committed()
    suspects, alone = job.output.died(job.output.marks()[unit_of(row).name])
    assert 1 in suspects
    assert suspects <= {0, 1, 2}
    assert alone == {}


def test_two_deaths_alone_make_a_failed_row_and_the_others_are_done(tmp_path, exits):
    job = Job(tmp_path, die_on="POISON")
    texts = [TEXT, "POISON one", TEXT, "POISON two", TEXT]
    row = planned(json_lines(tmp_path / "a.jsonl", texts), 0, 4)
    deaths = 0
    while not job.output.committed():
        try:
            job.do(row)
        except Exited:
            deaths += 1
            assert deaths <= 5
    assert deaths == 5  # once together, then each twice while alone
    assert job.output.died(job.output.marks()[unit_of(row).name])[1] == {1: 2, 3: 2}
    assert job.statuses(row) == [
        ("ok", None),
        ("failed", "engine_died"),
        ("ok", None),
        ("failed", "engine_died"),
        ("ok", None),
    ]
    assert (
        job.rows(row)[1]["errors"][0]["message"]
        == "the engine died 2 times while it had this document only"
    )


def test_a_single_death_alone_is_not_enough(tmp_path, exits):
    job = Job(tmp_path)
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT] * 2), 0, 1)
    job.output.mark_died(unit_of(row), [0, 1], alone=False)
    job.output.mark_died(unit_of(row), [1], alone=True)
    job.do(row)
    assert job.statuses(row) == [("ok", None), ("ok", None)]


def test_suspects_are_asked_one_at_a_time_while_no_other_unit_is(tmp_path, monkeypatch):
    annotate = Annotator.annotate
    inside: set[tuple[str, int]] = set()
    beside: dict[tuple[str, int], set[tuple[str, int]]] = {}

    async def watched(self: Annotator, document: Document) -> Annotated:
        key = (document.source[:1], document.position)
        inside.add(key)
        for one in inside:
            beside[one] = beside.get(one, set()) | inside - {one}
        try:
            return await annotate(self, document)
        finally:
            inside.discard(key)

    monkeypatch.setattr(Annotator, "annotate", watched)
    job = Job(tmp_path, latency=0.01)
    marked = planned(json_lines(tmp_path / "a.jsonl", [TEXT] * 6), 0, 5)
    other = planned(json_lines(tmp_path / "b.jsonl", [TEXT] * 3), 0, 2)
    job.output.mark_died(unit_of(marked), [1, 4], alone=False)
    job.do(other, marked)
    assert beside[("a", 1)] == beside[("a", 4)] == set()
    assert beside[("a", 0)] == {("a", 2), ("a", 3), ("a", 5)}
    assert beside[("b", 0)] == {("b", 1), ("b", 2)}
    assert {r["status"] for r in job.rows(marked) + job.rows(other)} == {"ok"}


def test_a_document_with_two_deaths_is_never_asked_again(tmp_path, exits):
    job = Job(tmp_path, die_on="metformin")
    row = planned(json_lines(tmp_path / "a.jsonl", [TEXT] * 2), 0, 1)
    for _ in range(2):
        job.output.mark_died(unit_of(row), [0, 1], alone=False)
        job.output.mark_died(unit_of(row), [0], alone=True)
        job.output.mark_died(unit_of(row), [1], alone=True)
    (receipt,) = job.do(row)
    assert (receipt.documents, receipt.failed) == (2, 2)


def test_who_retries_asks_what_killed_engines_before(tmp_path, exits):
    job = Job(tmp_path, die_on="POISON")
    path = json_lines(tmp_path / "a.jsonl", [TEXT, "POISON", TEXT])

    def deaths(replaces: str = "") -> int:
        """How often engines die until the unit is done (again)."""
        number = 0
        while True:
            try:
                job.do(planned(path, 0, 2, replaces=replaces))
                return number
            except Exited:
                number += 1
                assert number < 9

    assert deaths() == 3  # once among others, twice alone
    row = planned(path, 0, 2)
    assert job.statuses(row) == [("ok", None), ("failed", "engine_died"), ("ok", None)]
    (tag,) = job.output.committed().values()
    assert deaths(tag) == 3  # nothing is held against it: asked as if for the first time
    assert job.statuses(row)[1] == ("failed", "engine_died")
    job.config = job.config.model_copy(update={"engine_args": {}})  # a better engine
    (tag,) = job.output.committed().values()
    assert deaths(tag) == 0
    assert job.statuses(row) == [("ok", None)] * 3


def test_a_retry_that_was_broken_off_goes_on_counting(tmp_path, exits):
    job = Job(tmp_path, die_on="POISON")
    path = json_lines(tmp_path / "a.jsonl", ["POISON"])
    for tag in ("", "seen"):
        job.output.mark_died(unit_of(planned(path, 0, 0)), [0], alone=True, replaces=tag)
        job.output.mark_died(unit_of(planned(path, 0, 0)), [0], alone=True, replaces=tag)
    marks = job.output.marks()[unit_of(planned(path, 0, 0)).name]
    assert job.output.died(marks, "seen") == job.output.died(marks) == ({0}, {0: 2})
    assert job.output.died(marks, "seen later") == (set(), {})


# -------------------------------------------------------------------------------- answered earlier


def test_what_was_answered_earlier_is_copied_and_only_the_rest_is_asked(tmp_path, monkeypatch):
    first = Job(tmp_path)
    path = json_lines(tmp_path / "a.jsonl", [TEXT, TEXT + "Again.", ""])
    first.do(planned(path, 0, 2), run_id="run-1")
    source = PlannedSource.model_validate_json(planned(path, 0, 2)["planned"])
    part = Part(sources=[source.model_copy(update={"units": [(0, 2)]})])
    put_job(
        first.output.address,
        plan.Job(fingerprint="fingerprint", identity={}, config={}, versions={}, part=part),
    )
    earlier = first.rows(planned(path, 0, 2))
    later = Job(tmp_path / "later")
    later.config = later.config.model_copy(update={"reuse": first.output.address})
    asked: list[str] = []
    complete = FakeEngine.complete

    async def counted(engine: FakeEngine, question: Any, *arguments: Any) -> Completion:
        asked.append(question.window.text)
        return await complete(engine, question, *arguments)

    monkeypatch.setattr(FakeEngine, "complete", counted)
    path = json_lines(tmp_path / "b.jsonl", ["Another text on aspirin.", TEXT + "Again.", ""])
    row = planned(path, 0, 2)
    (receipt,) = later.do(row, run_id="run-2")
    assert set(asked) == {"Another text on aspirin."}
    new, copied, empty = later.rows(row)
    columns = ("mentions", "relations", "answers", "status", "content_hash")
    assert [copied[name] for name in columns] == [earlier[1][name] for name in columns]
    assert copied["answered_in"] == first.output.path(unit_of(planned(tmp_path / "a.jsonl", 0, 2)))
    assert (copied["run_id"], copied["source"], copied["position"]) == (
        "run-2",
        "b.jsonl-01234567",
        1,
    )
    assert new["answered_in"] is None and empty["errors"] == earlier[2]["errors"]
    totals = later.output.footer(unit_of(row)).totals
    assert totals.documents.total() == 3 and totals.reused["documents"] == 1 + bool(
        empty["answered_in"]
    )
    tokens = sum(answer["prompt_tokens"] for answer in new["answers"])
    assert receipt.prompt_tokens == totals.tokens["prompt_tokens"] == tokens > 0
    spared = sum(answer["prompt_tokens"] for answer in copied["answers"])
    assert totals.reused["prompt_tokens"] == spared > 0

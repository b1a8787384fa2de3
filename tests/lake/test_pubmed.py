"""A lake of real PubMed files: two deliveries of the same PMIDs; the questions of the manual."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from taiyi_ray.annotation import Annotated
from taiyi_ray.config import AnnotateConfig, load
from taiyi_ray.corpus.plan import Job, Part, PlannedSource, add_part, put_job
from taiyi_ray.corpus.units import Unit
from taiyi_ray.formats import documents, named
from taiyi_ray.job.estimate import estimate
from taiyi_ray.job.output import JobOutput
from taiyi_ray.lake import ask
from taiyi_ray.lake.check import check
from taiyi_ray.lake.update import Settings, update
from taiyi_ray.records import Annotations, Mention
from tests.job.jobs import annotate, table

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\b[A-Z][a-z]{6,}\b|\b[A-Z]{2,5}\d?\b")


def annotated(address: str, files: list[tuple[str, Path]], run_id: str, part: int) -> None:
    """Commit rows of real files, their capital words the mentions, as a job would."""
    output, sources = JobOutput(address), []
    for name, path in files:
        source = f"{name}-01234567"
        with path.open("rb") as stream:
            found = list(documents(stream, name, named("pubmed"), source, 0, sys.maxsize - 1))
        unit = Unit(source=source, path=str(path), first=0, last=len(found) - 1)
        rows = []
        for document in found:
            row = Annotated(document, status=document.status, errors=document.errors)
            if document.passages:
                row.annotations = Annotations(
                    mentions=[
                        Mention(n, "name", m[0], *m.span(), passage=document.passage_at(m.start()))
                        for n, m in enumerate(NAME.finditer(document.text))
                    ]
                )
            rows.append(row.row(unit=unit.name, run_id=run_id, fingerprint="f" * 16))
        output.commit(unit, rows, run_id)
        sources.append(
            PlannedSource(
                path=str(path), size=1, tag="t", sha256=None, name=source, format="pubmed",
                complete=True, units=[(0, len(found) - 1)],
            )
        )  # fmt: skip
    added = Part(sources=sources)
    if part:
        add_part(address, part, added)
    else:
        identity = {"model": "0123", "ner.templates": "4567"}
        job = Job(fingerprint="f" * 16, identity=identity, config={}, versions={}, part=added)
        put_job(address, job)
    run = {"run_id": run_id, "state": "complete", "model": "embedded", "fingerprint": "f" * 16}
    output.write_run(run, complete=True)


@pytest.fixture
def lake(shared_data: Path, tmp_path: Path) -> str:
    """A lake of real files, each under the name that its delivery would have."""
    folder, output = shared_data / "pubmed-xml", str(tmp_path / "out")
    address = str(tmp_path / "lake")
    size = 100_000_000  # all PMIDs in one range: these few lie far apart
    first = [("pubmed14n0001.xml.gz", folder / "medsamp2014.xml.gz")]
    annotated(output, first, "20260101T000001-aaaaaa", 0)
    update(address, [output], Settings(pmids=size))
    second = [
        ("pubmed18n0001.xml.gz", folder / "pubmedsample18n0001.xml.gz"),
        ("pubmed18n0002.xml", folder / "odd" / "pubmed20n1203_with_deletecitation.xml"),
        ("pubmed18n0003.xml", folder / "odd" / "article_plus_book_otherabstract.xml"),
        ("pubmed18n0004.xml.gz", folder / "ntm_reviews_2019.xml.gz"),
        ("pubmed18n0005.xml", folder / "odd" / "medline_text_1.txt"),  # is no XML
    ]
    annotated(output, second, "20260101T000002-aaaaaa", 1)
    update(address, [output], Settings(baseline=18))
    return address


def rows(lake: str, sql: str) -> list[tuple[object, ...]]:
    with ask.query(lake, sql) as found:
        return [tuple(row.values()) for row in found.read_all().to_pylist()]


def test_of_two_deliveries_the_newer_counts_and_unchanged_texts_keep_their_annotations(lake):
    assert not list(check(lake))
    # 160 PMIDs are in both deliveries; the text of 156 is the same in both.
    twice = """
        SELECT count(*), count(*) FILTER (texts = 1) FROM (
            SELECT count(DISTINCT content_hash) AS texts FROM revisions
            WHERE (source LIKE 'pubmed14n0001%' OR source LIKE 'pubmed18n0001%')
                AND status <> 'deleted'
            GROUP BY pmid HAVING count(DISTINCT source) = 2
        )
    """
    assert rows(lake, twice) == [(160, 156)]
    assert rows(
        lake,
        "SELECT count(*) FROM documents WHERE source LIKE 'pubmed14n0001%' "
        "AND revised_source LIKE 'pubmed18n0001%'",
    ) == [(156,)]
    kinds = dict(
        rows(lake, "SELECT change, count(*) FROM changes WHERE committed_in = 2 GROUP BY 1")
    )
    assert (kinds["text"], kinds["metadata"]) == (4, 152)


def questions() -> list[str]:
    text = (ROOT / "examples" / "lake.sql").read_text(encoding="utf-8")
    return re.findall(r"(?ms)^-- \d+\. .*?;$", text)


def answer(lake: str, question: str) -> str:
    """A question of the manual and its answer, as the manual shows them."""
    title = " ".join(re.findall(r"^-- (.*)$", question, re.MULTILINE))
    console = Console(width=200, file=io.StringIO())
    with ask.query(lake, question) as found:
        console.print(ask.on_screen(found)[0])
    shown = (line.rstrip() for line in console.file.getvalue().splitlines())
    return f"{title}\n\n```\n" + "\n".join(shown) + "\n```\n"


def test_the_questions_of_the_manual_have_the_answers_that_stand_there(lake):
    page = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    assert len(questions()) == 10
    for question in questions():
        assert answer(lake, question) in page


@pytest.mark.slow
def test_what_a_delivery_repeats_is_not_asked_again(joined, shared_data, tmp_path):
    """Two deliveries of NLM through `annotate`, the lake, `plan` and `annotate --reuse`."""

    def deliver(name: str, of: str) -> None:
        data = (shared_data / "pubmed-xml" / of).read_bytes()
        (given / name).write_bytes(data)
        digest = hashlib.md5(data).hexdigest()
        (given / f"{name}.md5").write_text(f"MD5({name})= {digest}\n")

    given, output, address = tmp_path / "in", tmp_path / "out", str(tmp_path / "lake")
    given.mkdir()
    deliver("pubmed14n0001.xml.gz", "medsamp2014.xml.gz")
    command = (given, "-o", output, "--engine", "fake")
    annotate(*command)
    update(address, [str(output)])
    before = json.loads((output / "run.json").read_text())
    deliver("pubmed18n0001.xml.gz", "pubmedsample18n0001.xml.gz")
    config = load(
        AnnotateConfig,
        None,
        {
            "inputs": [str(given)], "output": "-", "engine": "fake", "ask": "together",
            "reuse": address,
        },
    )  # fmt: skip
    text = annotate(*command, "--reuse", address)
    copied = [row for row in table(output) if row["answered_in"]]
    # 160 PMIDs are in both deliveries; the text of 156 is the same in both.
    assert len(copied) == 156
    assert "not asked again  156 documents" in text
    run = json.loads((output / "run.json").read_text())
    assert run["totals"]["reused"]["documents"] == 156
    twice = before["totals"]["tokens"]["prompt_tokens"] + run["prompt_tokens"]
    assert run["totals"]["tokens"]["prompt_tokens"] == twice
    # The first delivery is all in the lake; `plan` looks at a sample of the documents.
    assert value_of(config) == pytest.approx(156 + 161, rel=0.05)
    earlier = {row["content_hash"]: row for row in table(output) if not row["answered_in"]}
    for row in copied:
        assert row["mentions"] == earlier[row["content_hash"]]["mentions"]
        assert row["answers"] == earlier[row["content_hash"]]["answers"]
        assert Path(row["answered_in"]).exists()
    update(address, [str(output)], Settings(baseline=18))
    assert not list(check(address))
    assert rows(address, "SELECT count(*) FROM documents WHERE source LIKE 'pubmed14n0001%'") == [
        (156,)  # their annotations are still those of the first delivery
    ]
    kinds = "SELECT change, cause, count(*) FROM changes WHERE committed_in = 2 GROUP BY ALL"
    assert {row[:2]: row[2] for row in rows(address, kinds)} == {
        ("metadata", "record"): 152, ("text", "record"): 4, ("insert", "record"): 17,
        ("delete", "baseline"): 1,
    }  # fmt: skip
    # A third run asks for nothing, and a lake that has all of it copies all of it.
    assert "nothing to do" in annotate(*command, "--reuse", address)
    annotate(given, "-o", tmp_path / "again", "--engine", "fake", "--reuse", address)
    assert all(row["answered_in"] for row in table(tmp_path / "again") if row["status"] == "ok")


def value_of(config: AnnotateConfig) -> float:
    """How many documents `plan` says need not be asked."""
    return estimate(config).totals["reused_documents"].value

"""What the tests of evaluations share: small corpora in real layouts, and rows that answer them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from taiyi_ray.annotation import Annotated
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.config import EvaluateConfig
from taiyi_ray.corpus.units import Unit
from taiyi_ray.evaluate import cases
from taiyi_ray.evaluate.benchmark import benchmarks
from taiyi_ray.evaluate.evaluation import COUNTS
from taiyi_ray.evaluate.scoring import counts_table, score
from taiyi_ray.evaluate.source import BenchmarkSource
from taiyi_ray.job.output import JobOutput
from taiyi_ray.records import Annotations, Answer, Document
from tests.catalogue.made import corpus

_CDR = """\
{id}|t|Naloxone reverses hypotension.
{id}|a|Clonidine caused hypotension and sedation. Naloxone helped.
{id}\t0\t8\tNaloxone\tChemical\tD009270
{id}\t18\t29\thypotension\tDisease\tD007022
{id}\t31\t40\tClonidine\tChemical\tD003000
{id}\t48\t59\thypotension\tDisease\tD007022
{id}\t64\t72\tsedation\tDisease\tD000077227
{id}\t74\t82\tNaloxone\tChemical\tD009270
{id}\tCID\tD003000\tD007022

"""


def corpora(root: Path) -> Path:
    """Write six documents in the layout of BC5CDR, in each split, and queries of KUAKE-QIC."""
    queries = [
        {"id": f"s{n}", "query": query, "label": label}
        for n, (query, label) in enumerate(
            [("体检多少钱", "医疗费用"), ("感冒吃什么药", "治疗方案")] * 2
        )
    ]
    return corpus(
        root,
        {
            "CDR_TrainingSet.PubTator.txt": "".join(_CDR.format(id=300 + n) for n in range(6)),
            "CDR_TestSet.PubTator.txt": "".join(_CDR.format(id=100 + n) for n in range(6)),
            "CDR_DevelopmentSet.PubTator.txt": "".join(_CDR.format(id=200 + n) for n in range(6)),
            "KUAKE-QIC_dev.json": json.dumps(queries, ensure_ascii=False),
        },
    )


def settings(root: Path, output: Path, *names: str, **more: Any) -> EvaluateConfig:
    made = {"engine": "fake", "context_length": 4096, **more}
    return EvaluateConfig(
        benchmarks=list(names) or None, data_root=str(root), output=str(output), **made
    )


def source(root: Path, name: str, *, split: Any = None, **options: Any) -> BenchmarkSource:
    """A benchmark as a source, with what is asked about it."""
    benchmark = benchmarks()[name]
    asked = benchmark.assignments(options, grammar=True, data_root=DataRoot(root))
    return BenchmarkSource(benchmark, split or benchmark.split, str(root), asked)


def answered_case(output: Path, root: Path, name: str, raw: str) -> None:
    """Commit the row of a case below a folder, which the model answered with `raw`."""
    (of,) = [one for one in cases.sources(str(root), grammar=True) if one.case.name == name]
    _commit(output, of, [of.document], lambda document: Annotations(), {"raw": raw})


def answered(
    output: Path,
    of: BenchmarkSource,
    find: Callable[[Document], Annotations],
    **changed: Mapping[str, Any],
) -> None:
    """Commit rows in which each document has what `find` says, as units of two documents.

    Args:
        output: the output.
        of: the benchmark.
        find: what a model found.
        **changed: fields of the first answer of each row that differ.
    """
    _commit(output, of, of.read(), find, changed)


def _commit(
    output: Path,
    of: BenchmarkSource | cases.CaseSource,
    documents: Iterable[Document],
    find: Callable[[Document], Annotations],
    changed: Mapping[str, Any],
) -> None:
    rows = []
    for document in documents:
        answers = [
            Answer(q.key, [t.name for t in q.types], q.language, 0, 0, "x", 9, 0, 3, "stop", None)
            for q in (of.assignments[0].questions(document) if document.passages else ())
        ]
        for name, value in changed.items():
            setattr(answers[0], name, value)
        annotated = Annotated(document, find(document), answers)
        rows.append(annotated.row(unit="", run_id="run-1", fingerprint="f"))
    for first in range(0, len(rows), 2):
        unit = Unit(
            source=of.name, path=of.address, first=first, last=min(first + 1, len(rows) - 1)
        )
        JobOutput(str(output)).commit(unit, rows[unit.first : unit.last + 1], "run-1")


def scored(output: Path, root: Path, name: str, find: Callable[[Document], Annotations]) -> str:
    """Answer a benchmark, as `answered` does, and write what `compare` reads; return the folder."""
    asked = source(root, name)
    answered(output, asked, find)
    pq.write_table(counts_table([score(asked, str(output))]), output / COUNTS)
    return str(output)


def three_runs(folder: Path) -> list[str]:
    """Three runs on one benchmark: one finds all but the last two, one all, one nothing."""
    root = corpora(folder / "corpora")
    finds: dict[str, Callable[[Document], Annotations]] = {
        "base": lambda document: document.gold if document.position < 4 else Annotations(),
        "perfect": lambda document: document.gold,
        "silent": lambda document: Annotations(),
    }
    return [scored(folder / name, root, "bc5cdr-chemical", find) for name, find in finds.items()]

"""A comparison as it is shown: in a terminal of 80 columns, and as files."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.compare import compare
from taiyi_ray.evaluate.evaluation import COUNTS
from taiyi_ray.evaluate.scoring import counts_table
from taiyi_ray.evaluate.side_by_side import not_in_all, table, write
from tests.evaluate.made import answered_case, scored, three_runs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENDINGS = ("md", "html", "parquet")


@pytest.fixture
def runs(tmp_path):
    return three_runs(tmp_path)


@pytest.fixture
def case_runs(tmp_path):
    """Two runs that answered a case."""
    for name, raw in (("one", "disease: gout | <b>"), ("two", "none\n" + "long " * 40)):
        answered_case(tmp_path / name, EXAMPLES, "ner-en", raw)
        pq.write_table(counts_table([]), tmp_path / name / COUNTS)
    return [str(tmp_path / name) for name in ("one", "two")]


def written(found, folder) -> Path:
    for ending in ENDINGS:
        write(found, str(folder / f"found.{ending}"))
    return folder / "found"


@pytest.mark.parametrize("width", [80, 120])
def test_intervals_and_verdicts_are_whole_in_a_narrow_terminal(runs, width):
    with (console := Console(width=width)).capture() as capture:
        console.print(table(compare(runs, by_type=True).lines))
    lines = capture.get().splitlines()
    assert "…" not in capture.get()
    assert any("100.0-100.0" in line for line in lines)
    text = " ".join(" ".join(line.split()) for line in lines)
    assert "no clear" in text and "worse" in text
    assert text.count("strict_f1") == 1  # stands once, beside the first run


def test_a_comparison_is_written_as_markdown_html_and_parquet(runs, tmp_path):
    found = compare(runs, by_type=True)
    file = written(found, tmp_path)
    text = file.with_suffix(".md").read_text()
    assert text.startswith("| benchmark | metric | type | run | score |")
    assert len(text.splitlines()) == 2 + len(found.lines)
    assert "<td>bc5cdr-chemical/test</td>" in file.with_suffix(".html").read_text()
    assert pq.read_table(file.with_suffix(".parquet")).num_rows == len(found.lines)
    with pytest.raises(ConfigError, match=r"expected a name that ends with \.md, \.html, \.parqu"):
        write(found, str(tmp_path / "scores.csv"))


def test_the_answers_to_a_case_study_are_written_side_by_side(case_runs, tmp_path):
    found = compare(case_runs)
    assert (list(found.lines), list(found.answers)) == ([], ["ner-en"])
    file = written(found, tmp_path)
    head, _, line = file.with_suffix(".md").read_text().splitlines()
    assert head == f"| case | {case_runs[0]} | {case_runs[1]} |"
    assert line.startswith(r"| ner-en | disease: gout \| <b> | none<br>long long")
    page = file.with_suffix(".html").read_text()
    assert "<td>disease: gout | &lt;b&gt;</td>" in page
    assert "Differences" not in page
    assert [
        (row["case"], row["run"]) for row in pq.read_table(file.with_suffix(".parquet")).to_pylist()
    ] == [("ner-en", run) for run in case_runs]


def test_scores_and_answers_stand_in_one_file(case_runs, runs, tmp_path):
    for run in case_runs:
        scored(Path(run), tmp_path / "corpora", "bc5cdr-chemical", lambda document: document.gold)
    found = compare([*case_runs, runs[0]])
    assert not_in_all(found) == "not in all runs: case-study"
    file = written(found, tmp_path)
    text = file.with_suffix(".md").read_text()
    assert "| benchmark |" in text and "| case |" in text
    assert text.endswith("not in all runs: case-study\n")
    rows = pq.read_table(file.with_suffix(".parquet")).to_pylist()
    assert [row["answer"] for row in rows if row["case"]][-1] is None
    assert sum(row["benchmark"] is not None for row in rows) == len(found.lines)
    assert file.with_suffix(".html").read_text().count("<table") == 2

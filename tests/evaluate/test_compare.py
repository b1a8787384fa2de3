"""Runs side by side, and which differences are real."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.compare import compare, write
from taiyi_ray.evaluate.evaluation import COUNTS
from taiyi_ray.evaluate.scoring import counts_table, score
from taiyi_ray.records import Annotations
from tests.evaluate.made import answered, corpora, source


@pytest.fixture
def runs(tmp_path):
    """Three runs on one benchmark: one finds all but the last two, one all, one nothing."""
    root = corpora(tmp_path / "corpora")
    finds = {
        "base": lambda document: document.gold if document.position < 4 else Annotations(),
        "perfect": lambda document: document.gold,
        "silent": lambda document: Annotations(),
    }
    for name, find in finds.items():
        asked = source(root, "bc5cdr-chemical")
        answered(tmp_path / name, asked, find)
        found = score(asked, str(tmp_path / name))
        pq.write_table(counts_table([found]), tmp_path / name / COUNTS)
    return [str(tmp_path / name) for name in finds]


def test_each_run_has_its_difference_to_the_first_with_a_verdict_in_words(runs):
    strict = [line for line in compare(runs) if line.metric == "strict_f1"]
    assert [(line.run, line.value, line.verdict) for line in strict] == [
        (runs[0], pytest.approx(80.0), ""),
        (runs[1], 100.0, "no clear difference"),  # two of six documents could be chance
        (runs[2], 0.0, "worse"),
    ]
    assert strict[1].difference == pytest.approx(20.0)
    assert strict[1].documents == 6
    assert strict[1].difference_low == 0


def test_a_comparison_is_written_as_markdown_html_and_parquet(runs, tmp_path):
    lines = compare(runs, by_type=True)
    for ending in ("md", "html", "parquet"):
        write(lines, str(tmp_path / f"scores.{ending}"))
    text = (tmp_path / "scores.md").read_text()
    assert text.startswith("| benchmark | metric | type | run | score |")
    assert len(text.splitlines()) == 2 + len(lines)
    assert "<td>bc5cdr-chemical/test</td>" in (tmp_path / "scores.html").read_text()
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == len(lines)
    with pytest.raises(ConfigError, match=r"expected a name that ends with \.md, \.html, \.parqu"):
        write(lines, str(tmp_path / "scores.csv"))


def test_what_holds_no_scores_is_an_error(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"holds no counts\.parquet; name the --output of"):
        compare([*runs, str(tmp_path / "nothing")])


def test_other_documents_at_the_same_positions_are_not_compared(runs, tmp_path):
    root = corpora(tmp_path / "others")
    file = root / "CDR_TestSet.PubTator.txt"
    file.write_text(file.read_text().replace("105", "955"))
    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "other", asked, lambda document: document.gold)
    found = score(asked, str(tmp_path / "other"))
    pq.write_table(counts_table([found]), tmp_path / "other" / COUNTS)
    lines = compare([runs[0], str(tmp_path / "other")])
    assert {line.documents for line in lines if line.run != runs[0]} == {5}

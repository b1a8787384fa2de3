"""Runs side by side, and which differences are real."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.compare import compare
from taiyi_ray.evaluate.evaluation import COUNTS
from taiyi_ray.evaluate.scoring import counts_table
from tests.evaluate.made import answered_case, corpora, scored, three_runs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def runs(tmp_path):
    return three_runs(tmp_path)


def test_each_run_has_its_difference_to_the_first_with_a_verdict_in_words(runs):
    strict = [line for line in compare(runs).lines if line.metric == "strict_f1"]
    assert [(line.run, line.value, line.verdict) for line in strict] == [
        (runs[0], pytest.approx(80.0), ""),
        (runs[1], 100.0, "no clear difference"),  # two of six documents could be chance
        (runs[2], 0.0, "worse"),
    ]
    assert strict[1].difference == pytest.approx(20.0)
    assert strict[1].documents == 6
    assert strict[1].difference_low == 0


def test_what_runs_lack_is_told_and_what_no_two_have_is_one_line(runs, tmp_path):
    assert compare(runs).not_in_all == []
    other = scored(tmp_path / "other", tmp_path / "corpora", "bc5cdr-disease", lambda one: one.gold)
    found = compare([*runs, other])
    assert found.not_in_all == ["bc5cdr-chemical/test", "bc5cdr-disease/test"]
    assert {line.benchmark for line in found.lines} == {"bc5cdr-chemical"}
    answered_case(tmp_path / "case", EXAMPLES, "ner-en", "none")
    pq.write_table(counts_table([]), tmp_path / "case" / COUNTS)
    with pytest.raises(ConfigError) as error:
        compare([str(tmp_path / "case"), other])
    assert str(error.value) == (
        f"nothing in common to compare: {tmp_path}/case holds case-study; "
        f"{other} holds bc5cdr-disease/test"
    )


def test_what_holds_no_scores_is_an_error(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"holds no counts\.parquet; name the --output of"):
        compare([*runs, str(tmp_path / "nothing")])


def test_other_documents_at_the_same_positions_are_not_compared(runs, tmp_path):
    root = corpora(tmp_path / "others")
    file = root / "CDR_TestSet.PubTator.txt"
    file.write_text(file.read_text().replace("105", "955"))
    other = scored(tmp_path / "other", root, "bc5cdr-chemical", lambda document: document.gold)
    found = compare([runs[0], other])
    assert {line.documents for line in found.lines if line.run != runs[0]} == {5}

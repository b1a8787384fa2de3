"""A case study: own texts, asked and laid side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate import run
from taiyi_ray.evaluate.cases import answers, cases, sources, table
from taiyi_ray.evaluate.compare import compare
from tests.evaluate.made import answered_case, settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_each_case_of_the_example_has_something_to_ask_in_the_language_of_its_text():
    found = sources(str(EXAMPLES), grammar=True)
    assert len(found) == 17
    for source in found:
        with source.documents("text", 0, 0, {}) as read:
            (document,) = read
        (assignment,) = source.assignments
        languages = {question.language for question in assignment.questions(document)}
        assert len(languages) == 1
        assert (document.source, document.position) == (f"case-study/{source.case.name}", 0)


def test_a_case_whose_text_changed_is_refused(tmp_path):
    shutil.copy(EXAMPLES / "case-study.yaml", tmp_path)
    before = sources(str(tmp_path), grammar=True)[0].state()
    text = (tmp_path / "case-study.yaml").read_text()
    (tmp_path / "case-study.yaml").write_text(text.replace("lobectomy", "surgery"))
    with pytest.raises(ConfigError, match=r"^case-study://ner-en-procedure: its text changed"):
        sources(str(tmp_path), grammar=True)[0].check_unchanged(before)


def test_a_missing_or_broken_file_of_cases_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"^--benchmarks case-study: no file case-study\.yaml"):
        cases(str(tmp_path))
    (tmp_path / "case-study.yaml").write_text("one: {task: ner}")
    with pytest.raises(ConfigError, match=r"case-study\.yaml: one: passages is missing"):
        cases(str(tmp_path))


# Ray's own settings warn of themselves when a process that shows warnings imports it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_answers_of_runs_stand_side_by_side_without_a_score(joined, tmp_path):
    out = tmp_path / "out"
    assert run(settings(EXAMPLES, out, "case-study")) == 0
    found = answers([str(out)])
    assert len(found) == 17
    assert found["ner-en"][0].startswith(("disease: ", "chemical: ", "none"))
    assert compare([str(out), str(out)]).lines == []
    assert (out / "scores.json").read_text() == "[]"
    page = (out / "report.html").read_text()
    assert "on 17 cases" in page and "<h2>Scores</h2>" not in page


def test_answers_stand_side_by_side_and_none_is_cut(tmp_path):
    for name, raw in (("one", "gout " * 30 + "end"), ("two", "none")):
        answered_case(tmp_path / name, EXAMPLES, "ner-en", raw)
    answered_case(tmp_path / "two", EXAMPLES, "qa-en", "yes")
    runs = [str(tmp_path / name) for name in ("one", "two", "nothing")]
    found = answers(runs)
    assert found == {"ner-en": ["gout " * 30 + "end", "none", None], "qa-en": [None, "yes", None]}
    with (console := Console(width=80)).capture() as capture:
        console.print(table(runs, found))
    assert "…" not in capture.get() and "end" in capture.get()

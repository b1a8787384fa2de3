"""The report: scores beside published ones, kinds of errors, and nothing that data could run."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from taiyi_ray.evaluate.report import KINDS, AnsweredCase, _benchmark, _matrix, write_report
from taiyi_ray.evaluate.scoring import score
from taiyi_ray.records import Annotations, Concept, Mention, as_values
from tests.evaluate.made import answered, corpora, settings, source

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def page(tmp_path):
    """The report of a run that finds one wrong and one displaced chemical in each document."""
    root = corpora(tmp_path / "corpora")
    for file in root.glob("CDR_*"):
        file.write_text(file.read_text().replace("Naloxone helped.", f"Naloxone helped {HOSTILE}."))

    def find(document):
        first, *_ = document.gold.mentions
        wide = Mention(1, "chemical", "Clonidine caused", 31, 47, score=0.8)
        wrong = Mention(2, "chemical", "reverses", 9, 17, score=0.3)
        return Annotations([first, wide, wrong])

    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, find, raw=HOSTILE)
    scores = [score(asked, str(tmp_path / "out"))]
    known = scores[0].benchmark.published.model_copy(
        update={"documents": (6,), "digest": scores[0].digest}
    )
    scores[0].benchmark = scores[0].benchmark.model_copy(update={"published": known})
    records = [record for one in scores for record in one.as_records(0)]
    readings = [
        {"time": "2026-01-01", "benchmark": "b", "split": "dev", "documents": 6, "thresholds": None}
    ]
    totals = {"documents": {"ok": 4, "failed": 2}, "failures": {"cut_off": 1, "not_in_text": 3}}
    return write_report(scores, records, readings, settings(root, tmp_path / "out"), totals=totals)


def test_failures_are_counted_by_kind(page):
    assert 'What went wrong <span class="number">4</span>' in page
    assert page.index("not in text") < page.index("cut off")
    assert "2 of 6 documents failed" in page


def test_the_page_of_a_case_study_has_cards_and_no_scores(tmp_path):
    mention = Mention(0, "disease", "gout", 0, 4)
    row = {
        "document_id": "ner-en", "status": "ok", "metadata": {}, "position": 0,
        "mentions": [as_values(mention)],
    }  # fmt: skip
    config = settings(tmp_path, tmp_path / "out")
    page = write_report([], [], [], config, cases=[AnsweredCase(row, [{"task": "ner"}])], totals={})
    assert "on 1 case</title>" in page
    assert "<h2>Scores</h2>" not in page and "The bar is" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    (card,) = data["documents"]
    assert (card["benchmark"], card["prompts"]) == ("case-study", [{"task": "ner"}])
    assert data["colours"]["disease"] is not None


def test_wrong_links_are_told_beside_the_matrix_of_types(tmp_path):
    root = corpora(tmp_path / "corpora")

    def first_is_wrong(document):
        first, *rest = document.gold.mentions
        return Annotations([replace(first, concept=Concept("", "D1")), *rest])

    asked = source(root, "bc5cdr-concepts")
    answered(tmp_path / "out", asked, first_is_wrong)
    of = _benchmark(score(asked, str(tmp_path / "out")), 0)
    assert of["matrix"]["columns"][:2] == ["chemical", "disease"]
    assert of["confused"] == [(("D009270", "D1"), 6)]
    found = [score(asked, str(tmp_path / "out"))]
    page = write_report(found, [], [], settings(root, tmp_path / "out"), totals={})
    assert "<h3>Confusion</h3>" in page and "<h3>Most confused</h3>" in page


def test_scores_stand_beside_the_published_ones_with_their_intervals(page):
    assert 'title="Taiyi 2 90.2"' in page
    assert "the published numbers count as string_f1 does" in page
    assert re.search(r'aria-label="\d+\.\d, interval \d+\.\d to \d+\.\d, ceiling 100\.0"', page)
    assert "Readings of splits that measure (1)" in page


def test_each_document_shows_what_is_right_wrong_and_missing(page):
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert set(KINDS) <= data["colours"].keys()
    first, *_ = data["documents"]
    assert [mention["type"] for mention in first["mentions"]] == [
        *("right", "boundary", "spurious", "missed"),
    ]
    assert {mention["note"] for mention in first["mentions"]} == {"chemical"}
    assert first["prompts"][0]["messages"][0]["role"] == "user"
    assert len(data["documents"]) == 6


def test_types_are_confused_in_a_matrix_with_what_was_missed_or_is_not_in_the_gold():
    kinds = {
        ("right", "a", "a"): 3,
        ("wrong type", "a", "b"): 2,
        ("boundary", "b", "b"): 1,
        ("missed", "b", None): 4,
        ("spurious", None, "c"): 5,
        ("wrong link", "D1", "D2"): 7,
    }
    assert _matrix(kinds) == {
        "columns": ["a", "b", "c", "boundary", "missed"],
        "rows": [
            ("a", [3, 2, 0, 0, 0], 5),
            ("b", [0, 0, 0, 1, 4], 5),
            ("c", [0, 0, 0, 0, 0], 1),
            ("not in the gold", [0, 0, 5, 0, 0], 5),
        ],
    }
    assert _matrix({("right", "a", "a"): 3}) is None
    many = {("right", f"t{number}", f"t{number}"): 1 for number in range(20)}
    assert _matrix(many) is None


def test_calibration_is_a_plot_with_a_point_for_each_bin(page):
    assert "the mean distance to it is 0.55" in page
    points = re.findall(r"<title>mean score (.*?), right (.*?), (\d+) annotations", page)
    assert points == [("0.30", "0.00", "6"), ("0.80", "0.00", "6")]


def test_nothing_in_the_data_can_end_the_script_or_become_html(page):
    assert HOSTILE not in page
    assert page.count("</script>") == 2
    assert "default-src 'none'" in page


def test_in_a_browser_the_plots_are_where_the_scores_are_and_the_page_fits_a_phone(
    browser, page, tmp_path
):
    file = tmp_path / "report.html"
    file.write_text(page)
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(file.as_uri())
    track = opened.locator(".plot .track").nth(1)
    box, circle = track.bounding_box(), track.locator("[title='Taiyi 2 90.2']").bounding_box()
    middle = circle["x"] + circle["width"] / 2
    assert (middle - box["x"]) / box["width"] == pytest.approx(0.902, abs=0.005)
    for details in opened.locator("details.of").all():
        details.evaluate("element => element.open = true")
    assert opened.locator(".calibration circle").count() == 2

    assert opened.locator("article:visible").count() == 6
    opened.locator("#types").get_by_role("button", name="boundary 6").click()
    assert opened.locator("mark.off").count() == 6
    opened.locator("mark[data-type=spurious]").first.hover()
    assert "chemical" in opened.locator("#tip").text_content()
    opened.locator("mark[data-type=right]").first.hover()
    assert "· D009270 ·" in opened.locator("#tip").text_content()
    places = opened.locator("article .facts").all_text_contents()
    assert ["bc5cdr-chemical #0" in places[0], "bc5cdr-chemical #5" in places[5]] == [True, True]
    opened.set_viewport_size({"width": 400, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == 400
    opened.close()
    assert faults == []

"""The report: scores beside published ones, kinds of errors, and nothing that data could run."""

from __future__ import annotations

import json
import re

import pytest

from taiyi_ray.evaluate.report import KINDS, _matrix, write_report
from taiyi_ray.evaluate.scoring import score
from taiyi_ray.records import Annotations, Mention
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
    return write_report(scores, records, readings, settings(root, tmp_path / "out"))


def test_scores_stand_beside_the_published_ones_with_their_intervals(page):
    assert 'title="Taiyi 2 90.2"' in page
    assert "the published numbers count as string_f1 does" in page
    assert re.search(r'aria-label="\d+\.\d, interval \d+\.\d to \d+\.\d, ceiling 100\.0"', page)
    assert "Readings of splits that measure (1)" in page


def test_each_document_shows_what_is_right_wrong_and_missing(page):
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert list(data["colours"]) == list(KINDS)
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
    opened.set_viewport_size({"width": 400, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == 400
    opened.close()
    assert faults == []

"""Rows drawn without a script: every character under its mentions, and nothing else is touched."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from taiyi_ray import highlight
from taiyi_ray.highlight.static import LONG, MOST, cards
from tests.job.test_report import HOSTILE, located, row

TEXT = "Aspirin <b>eased</b> pain & 🧬."


class Drawn(HTMLParser):
    """What a browser makes of it: each passage's characters, and the marks around each of them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.passages: list[list[tuple[str, list[str]]]] = []
        self.tags: list[str] = []
        self._marks: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag in ("p", "h2") and "dir" in given:
            self._inside = True
            self.passages.append([])
        if tag == "mark":
            self._marks.append(given["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "mark":
            self._marks.pop()
        elif tag in ("p", "h2"):
            assert not self._marks
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.passages[-1] += [(character, list(self._marks)) for character in data]

    @property
    def texts(self) -> list[str]:
        return ["".join(character for character, _ in passage) for passage in self.passages]


def mention(number: int, start: int, end: int) -> dict[str, Any]:
    return located(number, f"t{number}", "", start, end)


RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=9)


@settings(max_examples=100, deadline=None)
@example([(0, 30), (0, 30), (2, 9), (5, 9), (5, 5)])
@given(RANGES)
def test_every_character_stands_below_the_mentions_that_hold_it(ranges) -> None:
    one, two = TEXT[:14], TEXT[14:]
    found = [mention(n, start, start + length) for n, (start, length) in enumerate(ranges)]
    drawn = Drawn(cards([row(("title", "en", one), ("abstract", "en", two), mentions=found)]))
    assert drawn.texts == [one, two]
    for offset, passage in zip((0, len(one) + 1), drawn.passages, strict=True):
        for at, (_, marks) in enumerate(passage, offset):
            expected = [m["type"] for m in found if m["start"] <= at < m["end"]]
            assert sorted(mark.partition(" ")[0] for mark in marks) == sorted(expected)


def test_parts_of_a_mention_are_marked_apart_and_what_has_no_place_is_listed() -> None:
    spans = [{"start": 0, "end": 7}, {"start": 21, "end": 25}, {"start": 21, "end": 25}]
    found = [
        located(0, "x", "Aspirin pain", 0, 25, spans=spans, grounded="folded", score=0.5),
        located(1, None, "nowhere", None, None),
    ]
    html = cards([row(("abstract", "en", TEXT), mentions=found)])
    (passage,) = Drawn(html).passages
    assert {at for at, (_, marks) in enumerate(passage) if marks} == {*range(7), *range(21, 25)}
    assert 'title="x · score 0.50 · found folded · 0–25"' in html
    assert 'class="c0 folded"' in html or re.search(r'class="c\d+ folded"', html)
    assert "Not found in the text" in html and "nowhere" in html


def test_thousands_of_mentions_at_one_place_are_no_deep_recursion() -> None:
    found = [mention(n, 0, 7) for n in range(3000)]
    assert cards([row(("abstract", "en", TEXT), mentions=found)]).count("<mark") == 3000


def test_a_concept_without_a_terminology_is_its_identifier_alone() -> None:
    told = {}
    for db in ("MESH", ""):
        concept = {"db": db, "id": "D008107", "name": "cirrhosis", "score": None}
        drawn = Drawn(
            cards(
                [row(("text", "en", TEXT), mentions=[located(0, "d", "", 0, 7, concept=concept)])]
            )
        )
        told[db] = drawn.passages[0][0][1][0].split(" · ")
    assert "MESH:D008107 cirrhosis" in told["MESH"]
    assert "D008107 cirrhosis" in told[""]


def test_no_text_is_read_as_html() -> None:
    relation = {"id": 0, "type": HOSTILE, "head_text": HOSTILE, "tail_text": HOSTILE, "head": [0],
                "tail": [], "score": None}  # fmt: skip
    event = {"id": 0, "type": HOSTILE, "trigger": 0,
             "arguments": [{"role": HOSTILE, "mention": None, "text": HOSTILE}]}  # fmt: skip
    concept = {"db": HOSTILE, "id": HOSTILE, "name": None, "score": None}
    one = row(
        ("title", HOSTILE, HOSTILE),
        document_id=HOSTILE,
        mentions=[located(0, HOSTILE, HOSTILE, 0, 9, concept=concept)],
        relations=[relation],
        events=[event],
        labels=[{"task": HOSTILE, "label": HOSTILE, "score": 0.5}],
        texts=[{"task": HOSTILE, "text": HOSTILE}],
        errors=[{"kind": HOSTILE, "where": HOSTILE, "message": HOSTILE}],
    )
    drawn = Drawn(cards([one]))
    assert drawn.texts[0] == HOSTILE
    assert not {"script", "img"} & set(drawn.tags)


def test_what_is_shown_is_bounded() -> None:
    long = row(("text", "en", "x" * LONG), ("text", "en", "y" * LONG))
    html = cards([long] * (MOST + 1234))
    assert html.count("<article") == MOST
    assert "… and 1,234 more documents" in html
    assert Drawn(html).texts[0] == "x" * LONG
    assert f"… {LONG:,} more characters" in html
    few = row(("text", "en", "x"), labels=[{"task": "t", "label": "l", "score": None}] * 1000)
    assert cards([few]).count("<li>") == 50


def test_nothing_found_and_nothing_there_are_shown_as_that() -> None:
    assert "<article" not in cards([])
    html = cards([row(status="failed", errors=[{"kind": "a_b", "where": "w", "message": "m"}])])
    assert "a b" in html and 'class="failed"' in html


def test_the_styles_are_the_report_s_and_touch_nothing_else(browser: Any, tmp_path: Any) -> None:
    found = [located(0, "disease", "Aspirin", 0, 7)]
    html = cards([row(("abstract", "en", "Aspirin eased"), mentions=found)])
    path = tmp_path / "cell.html"
    page = '<!doctype html><meta charset="utf-8"><body><h1>Mine</h1><p id="mine">own'
    path.write_text(f'{page} <mark>text</mark></p><div id="cell"></div>{html}')
    opened = browser.new_page()
    try:
        opened.goto(path.as_uri())
        styled = opened.evaluate(
            """() => {
              const look = (which, what) => getComputedStyle(document.querySelector(which))[what];
              return {
                mark: look(".taiyi-ray mark", "borderBottomWidth"),
                card: look(".taiyi-ray article", "borderTopLeftRadius"),
                serif: look(".taiyi-ray .text p", "fontFamily"),
                mine: [look("#mine", "fontSize"), look("#mine", "marginTop"),
                       look("#mine mark", "borderBottomWidth"), look("body", "marginTop"),
                       look("h1", "marginTop")],
              };
            }"""
        )
        plain = browser.new_page()
        plain.set_content(f"{page} <mark>text</mark></p>")
        untouched = plain.evaluate(
            """() => {
              const look = (which, what) => getComputedStyle(document.querySelector(which))[what];
              return [look("#mine", "fontSize"), look("#mine", "marginTop"),
                      look("#mine mark", "borderBottomWidth"), look("body", "marginTop"),
                      look("h1", "marginTop")];
            }"""
        )
        plain.close()
    finally:
        opened.close()
    assert (styled["mark"], styled["card"]) == ("2px", "12px")
    assert "Charter" in styled["serif"]
    assert styled["mine"] == untouched


def test_the_style_sheet_of_the_report_is_in_it_as_it_is() -> None:
    html = cards([])
    own = highlight.style("taiyi_ray.highlight", "static").splitlines()
    page = re.compile(r"^\s*(:root|body) \{")
    assert all(line in html for line in own if not page.match(line))
    assert not page.search(html)

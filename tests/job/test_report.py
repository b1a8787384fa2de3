"""The report: which documents it shows, and what its page does with them in a browser."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taiyi_ray.corpus.output import UnitFile
from taiyi_ray.errors import StorageError
from taiyi_ray.job.report import MOST_BYTES, sample_rows, write_report
from taiyi_ray.records import SCHEMA, passages

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!-- &lt; \u2028 {{ 7 * 7 }}"


def row(*parts: tuple[str, str, str], **values: Any) -> dict[str, Any]:
    """A row of SCHEMA: (type, language, text) passages, and whatever else is given."""
    laid = passages(parts)
    lists = ("mentions", "relations", "events", "labels", "texts", "answers", "errors")
    return {
        **dict.fromkeys(SCHEMA.names),
        **{name: [] for name in lists},
        "document_id": "1",
        "title": parts[0][2] if parts and parts[0][0] == "title" else None,
        "metadata": {},
        "passages": [
            {"type": p.type, "language": p.language, "offset": p.offset, "text": p.text}
            for p in laid
        ],
        "status": "ok",
        "source": "a.xml-00000000",
        "position": 0,
        **values,
    }


def text_of(document: dict[str, Any]) -> str:
    return "\n".join(passage["text"] for passage in document["passages"])


def located(
    id_: int, type_: str | None, text: str, start: int | None, end: int | None, **values: Any
) -> dict[str, Any]:
    return {
        "id": id_, "type": type_, "text": text, "start": start, "end": end, "spans": [],
        "passage": 0, "grounded": "exact", "score": None, "concept": None, **values,
    }  # fmt: skip


def mentioned(document: dict[str, Any], *named: tuple[str | None, str]) -> dict[str, Any]:
    """Add a mention at every occurrence of each (type, text), and return the row."""
    text, mentions = text_of(document), document["mentions"]
    for type_, surface in named:
        for found in re.finditer(re.escape(surface), text):
            start = found.start()
            passage = sum(p["offset"] <= start for p in document["passages"]) - 1
            mentions.append(
                located(len(mentions), type_, surface, start, found.end(), passage=passage)
            )
    return document


def answer(raw: str | None, **values: Any) -> dict[str, Any]:
    return {
        "task": "ner", "types": ["disease"], "language": "en", "window": 0, "attempt": 0,
        "raw": raw, "prompt_tokens": 1200, "cached_tokens": 1000, "output_tokens": 34,
        "finish_reason": "stop", "error": None, **values,
    }  # fmt: skip


# ------------------------------------------------------------------------------ choosing documents


class Units:
    """Unit files in memory that count how often each is opened."""

    def __init__(self, *units: list[str]) -> None:
        self.opened: list[str] = []
        self.files: dict[str, bytes] = {}
        self.units = []
        for number, statuses in enumerate(units):
            rows = [
                row(
                    ("title", "en", f"{number}.{n}"), status=status, position=n, metadata={"a": "b"}
                )
                for n, status in enumerate(statuses)
            ]
            table = pa.Table.from_pylist(
                [{**r, "metadata": list(r["metadata"].items())} for r in rows], SCHEMA
            )
            buffer = io.BytesIO()
            pq.write_table(table, buffer, row_group_size=70)
            path = f"unit-{number}"
            self.files[path] = buffer.getvalue()
            self.units.append(UnitFile(path, len(rows), statuses.count("failed")))

    def read(self, path: str, take: Callable[[BinaryIO], Any]) -> Any:
        self.opened.append(path)
        return take(io.BytesIO(self.files[path]))

    def titles(self, most: int, seed: int = 0) -> list[str]:
        return [chosen["title"] for chosen in sample_rows(self.units, self.read, most, seed)]


def test_all_rows_when_they_fit_failed_ones_first() -> None:
    units = Units(["ok", "failed"], ["deleted", "partial"], ["failed"])
    assert units.titles(10) == ["0.1", "2.0", "0.0", "1.0", "1.1"]


def test_failed_rows_take_half_of_the_places_at_most() -> None:
    units = Units(["failed"] * 100 + ["ok"] * 100)
    statuses = [chosen["status"] for chosen in sample_rows(units.units, units.read, 20)]
    assert statuses == ["failed"] * 10 + ["ok"] * 10


def test_failed_rows_fill_up_where_others_are_too_few() -> None:
    units = Units(["failed"] * 100 + ["ok"] * 3)
    statuses = [chosen["status"] for chosen in sample_rows(units.units, units.read, 20)]
    assert statuses == ["failed"] * 17 + ["ok"] * 3


def test_the_sample_is_the_same_for_a_seed_and_another_for_another() -> None:
    units = Units(["ok", "failed", "ok"] * 100, ["ok"] * 200)
    assert units.titles(50, seed=3) == units.titles(50, seed=3)
    assert units.titles(50, seed=3) != units.titles(50, seed=4)
    assert len(set(units.titles(50))) == 50


def test_the_sample_reaches_every_row_of_every_row_group() -> None:
    units = Units(["ok"] * 150, ["ok", "failed"] * 75)
    expected = {f"{unit}.{n}" for unit in range(2) for n in range(150)}
    assert set(units.titles(300)) == expected


def test_only_units_with_a_chosen_row_are_opened() -> None:
    units = Units(*[["ok"] * 5 for _ in range(40)])
    chosen = units.titles(3)
    assert units.opened == [f"unit-{title.split('.')[0]}" for title in chosen]


def test_rows_come_back_as_the_schema_has_them() -> None:
    units = Units(["ok"])
    (chosen,) = sample_rows(units.units, units.read)
    assert list(chosen) == SCHEMA.names
    assert chosen["metadata"] == {"a": "b"}


@pytest.mark.parametrize("most", [0, 1])
def test_few_places(most: int) -> None:
    assert len(Units(["failed", "ok"]).titles(most)) == most


def test_no_units() -> None:
    assert sample_rows([], Units().read) == []


def test_a_file_with_other_counts_is_refused() -> None:
    units = Units(["ok", "failed"])
    wrong = [UnitFile("unit-0", 3, 1)]
    with pytest.raises(StorageError, match=r"unit-0: holds 2 rows, not 3$"):
        sample_rows(wrong, units.read)


def put(units: Units, number: int, rows: list[dict[str, Any]]) -> None:
    """Make of a unit one with these rows."""
    table = pa.Table.from_pylist(
        [{**r, "metadata": list(r["metadata"].items())} for r in rows], SCHEMA
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    units.files[f"unit-{number}"] = buffer.getvalue()
    failed = sum(r["status"] == "failed" for r in rows)
    units.units[number] = UnitFile(f"unit-{number}", len(rows), failed)


def test_a_unit_that_another_run_did_again_meanwhile_has_less_failed_rows() -> None:
    units = Units(["failed", "failed", "ok"], ["ok"])
    counted = list(units.units)
    put(units, 0, [row(("title", "en", str(n)), status="ok") for n in range(3)])
    chosen = sample_rows(counted, units.read)
    assert [one["status"] for one in chosen] == ["ok", "ok"]
    put(units, 0, [row(("title", "en", str(n)), status="failed") for n in range(3)])
    assert [one["status"] for one in sample_rows(counted, units.read)] == ["failed"] * 2 + ["ok"]


@pytest.mark.parametrize("status", ["failed", "ok"])
def test_the_report_is_bounded_whatever_the_documents(status: str) -> None:
    """Long texts, and what grows when it is written; each document is there, at least in short."""
    units = Units(*[["ok"]] * 45)
    errors = [{"kind": "k", "where": "w" * 9000, "message": "&" * 9000}] * 20
    for number in range(45):
        text = ["short", "<" * 90_000, "<&>" * 200_000][number % 3]
        one = row(("text", "en", text), status=status)
        if number % 3 == 2:
            one |= {"title": "t" * 9000, "errors": errors}
        put(units, number, [one | {"document_id": f"d{number}"}])
    rows = sample_rows(units.units, units.read)
    assert len(write_report(rows, TOTALS, RUN).encode()) < MOST_BYTES * 1.1
    assert sorted(one["document_id"] for one in rows) == sorted(f"d{n}" for n in range(45))
    numbers = {int(one["document_id"][1:]) for one in rows if not one["passages"]}
    assert set(range(2, 45, 3)) <= numbers  # more than an eighth of the page
    assert len(numbers) < 30
    short = next(one for one in rows if one["document_id"] == "d2")
    assert (short["status"], list(short)) == (status, SCHEMA.names)
    assert (short["errors"][0]["kind"], short["errors"][-1]["kind"]) == ("k", "not_shown")
    assert "find them in OUT/annotations" in short["errors"][-1]["message"]


def test_documents_of_the_usual_size_are_shown_whole() -> None:
    units = Units(*[["ok"]] * 200)
    for number in range(200):
        put(units, number, [row(("text", "en", "word " * 2000), ("text", "zh", "字" * 2000))])
    assert all(one["passages"] for one in sample_rows(units.units, units.read))


# ---------------------------------------------------------------------------------------- the file

TOTALS = {
    "documents": {"ok": 30_000, "partial": 20, "failed": 7, "deleted": 1},
    "mentions": {"disease": 1234, "chemical": 5678, "(untyped)": 3},
    "relations": {"gene_disease": 90},
    "failures": {"cut_off": 13},
    "tokens": {"prompt_tokens": 1_000_000, "cached_tokens": 500_000, "output_tokens": 76_543},
}
RUN = {
    "run_id": "run-1", "started": "2025-03-01T10:15:00+00:00", "seconds": 3721.4,
    "documents_per_second": 8.24, "output_tokens_per_second": 20.6, "model": "taiyi <2>",
    "tasks": ["ner", "relations"], "fingerprint": "f00d", "output": "s3://bucket/out",
}  # fmt: skip


def data_of(html: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def test_the_header_has_the_totals_of_everything() -> None:
    html = write_report([row(("title", "en", "T"))], TOTALS, RUN)
    visible = re.sub(r"(?s)<(style|script)[^>]*>.*?</\1>|<[^>]*>", "", html)
    visible = re.sub(r"\s+", " ", visible)
    for expected in (
        "30,028 documents, 6,915 mentions, 90 relations", "ok 30,000 99.9%", "deleted 1 &lt; 0.1%",
        "chemical 5,678", "(untyped) 3", "gene disease 90", "cut off 13", "1,000,000", "76,543",
        "50% from the prefix cache", "8.2", "1 h 02 min", "taiyi &lt;2&gt;", "ner, relations",
        "f00d", "run-1", "s3://bucket/out", "2025-03-01", "below are 1 of the documents",
    ):  # fmt: skip
        assert expected in visible


def test_the_header_counts_by_task() -> None:
    totals = TOTALS | {
        "events": {"Binding": 5},
        "labels": {"tc: <Treatment>": 7},
        "texts": {"mt:zh": 3},
        "questions": {"tc": 9, "mt": 4},
        "wrong": {"mt": 1},
        "not_applicable": {"dialogue": 8},
    }
    html = write_report([row(("title", "en", "T"))], totals, RUN)
    visible = re.sub(r"(?s)<(style|script)[^>]*>.*?</\1>|<[^>]*>", " ", html)
    visible = re.sub(r"\s+", " ", visible)
    for expected in ("Binding 5", "tc: &lt;Treatment&gt; 7", "mt:zh 3"):
        assert expected in visible
    assert "not asked about dialogue 0 0 8 mt 4 1 0 tc 9 0 0" in visible


def test_nothing_at_all_makes_a_report_too() -> None:
    html = write_report([], {}, {})
    assert data_of(html)["documents"] == []
    assert "0 documents" in html


def test_no_text_can_break_out_of_the_data() -> None:
    document = row(
        ("title", "en", HOSTILE), ("abstract", "en", "]]></script>"), document_id=HOSTILE
    )
    html = write_report([document], {**TOTALS, "mentions": {HOSTILE: 1}}, {**RUN, "model": HOSTILE})
    assert html.count("</script>") == 2  # the data's and the script's own
    assert "<img" not in html
    assert "\u2028" not in data_line(html)
    assert data_of(html)["documents"][0]["passages"][0]["text"] == HOSTILE


def data_line(html: str) -> str:
    (line,) = [line for line in html.split("\n") if 'id="data"' in line]
    return line


def test_the_policy_names_the_script_and_lets_nothing_else_in() -> None:
    html = write_report([], TOTALS, RUN)
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src &#39;sha256-" in html
    assert not re.search(r"(src|href)=\"(?!data:)", html)


def test_usual_types_keep_their_colour_and_no_two_share_one() -> None:
    def colours(*types: str) -> dict[str, int | None]:
        return data_of(write_report([], {"mentions": dict.fromkeys(types, 1)}, RUN))["colours"]

    few = colours("disease", "chemical", "(untyped)")
    many = colours("disease", "chemical", "药物", "assay", "device", "dose", "route", "organ")
    assert {few["disease"], few["chemical"]} == {many["disease"], many["chemical"]}
    numbers = [number for number in many.values() if number is not None]
    assert len(numbers) == len(set(numbers)) == 8
    assert few["(untyped)"] is None
    assert colours("b", "a") == colours("a", "b")
    assert set(colours(*map(str, range(30)))) == {*map(str, range(30)), "(untyped)"}


# --------------------------------------------------------------------------------- in a browser


EMOJI = mentioned(
    row(
        ("title", "en", "A 🧬 of EGFR mutation in lung cancer 👩🏽‍⚕️"),
        ("abstract", "en", "𝛂-synuclein 🧠🧠, gefitinib in non-small cell lung cancer, gefitinib."),
        document_id="emoji",
        metadata={"journal": "J Test", "date": "2004-05", "year": "2004"},
        answers=[answer("disease: lung cancer </pre>", task="ner"), answer(None, error="too long")],
    ),
    ("gene", "EGFR"),
    ("variant", "EGFR mutation"),
    ("gene", "𝛂-synuclein"),
    ("chemical", "gefitinib"),
    ("disease", "non-small cell lung cancer"),
    ("disease", "lung cancer"),
    ("anatomy", "small cell lung"),
    ("anatomy", "cell lung cancer, gef"),  # overlaps two others, nests in neither
)  # fmt: skip
EMOJI["relations"] = [
    {"id": 0, "type": "treatment", "head_text": "gefitinib", "tail_text": "lung cancer",
     "head": [m["id"] for m in EMOJI["mentions"] if m["text"] == "gefitinib"],
     "tail": [m["id"] for m in EMOJI["mentions"] if m["text"] == "lung cancer"], "score": 0.9}
]  # fmt: skip
CHINESE = mentioned(
    row(
        ("title", "zh", "𠮷林省替格瑞洛致呼吸困难一例"),
        ("abstract", "zh", "患者出现呼吸困难😷，考虑为替格瑞洛所致。"),
        ("abstract", "en", "Dyspnoea was due to ticagrelor."),
        document_id="zh-1",
        status="partial",
        errors=[{"kind": "cut_off", "where": "ner, window 0", "message": "cut at 512 tokens"}],
    ),
    ("chemical", "替格瑞洛"),
    ("symptom", "呼吸困难"),
    (None, "ticagrelor"),
)  # fmt: skip
DISCONTINUOUS = row(("text", "en", "breast and ovarian cancer"), document_id="apart")
DISCONTINUOUS["mentions"] = [
    located(
        0, "disease", "breast cancer", 0, 25, score=0.5,
        spans=[{"start": 0, "end": 6}, {"start": 19, "end": 25}],
        concept={"db": "MESH", "id": "D001943", "name": None, "score": None},
    ),
    located(1, "disease", "BRCA syndrome", None, None, passage=None, grounded="none"),
]  # fmt: skip
FAULT = row(
    document_id=None, status="failed", source=HOSTILE,
    errors=[{"kind": "truncated", "where": "source", "message": HOSTILE}],
)  # fmt: skip
HOSTILE_ROW = row(("title", "en", HOSTILE), ("abstract", "en", HOSTILE), document_id="hostile")
ROWS = [FAULT, EMOJI, CHINESE, DISCONTINUOUS, HOSTILE_ROW]


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of ROWS, which went through Arrow; fails on a console message or a request."""
    table = pa.Table.from_pylist(
        [{**r, "metadata": list(r["metadata"].items())} for r in ROWS], SCHEMA
    )
    file = tmp_path / "report.html"
    file.write_text(write_report(table.to_pylist(), TOTALS, RUN), "utf-8")
    opened = browser.new_page(reduced_motion="reduce")
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    assert opened.title() != "owned"
    opened.close()
    assert said == [file.as_uri()]


def card(page: Any, number: int) -> Any:
    return page.locator("article").nth(number)


def marked(page: Any, number: int) -> dict[int, list[str]]:
    """The texts of a card's marks by mention id, cut pieces of one mention put together."""
    marks = card(page, number).locator("mark")
    pieces = marks.evaluate_all("marks => marks.map(m => [Number(m.dataset.id), m.textContent])")
    found: dict[int, list[str]] = {}
    for id_, text in pieces:
        found.setdefault(id_, []).append(text)
    return found


def test_every_document_is_a_card_with_its_text(page: Any) -> None:
    assert page.locator("article").count() == len(ROWS)
    for number, document in enumerate(ROWS):
        passages_shown = card(page, number).locator("h2[lang], .text p").all_text_contents()
        assert passages_shown == [passage["text"] for passage in document["passages"]]
    assert page.locator("article").nth(2).locator("h2").get_attribute("lang") == "zh"
    assert page.locator("article").nth(2).locator(".text p").nth(1).get_attribute("lang") == "en"


@pytest.mark.parametrize("number", [1, 2])
def test_marks_hold_the_mentions_also_after_emoji(page: Any, number: int) -> None:
    found = marked(page, number)
    assert {id_: "".join(texts) for id_, texts in found.items()} == {
        mention["id"]: mention["text"] for mention in ROWS[number]["mentions"]
    }


def test_nested_mentions_nest_and_crossing_ones_are_cut(page: Any) -> None:
    inner = card(page, 1).locator("mark[data-type=variant] mark[data-type=gene]")
    assert inner.all_text_contents() == ["EGFR"]
    crossing = next(m["id"] for m in EMOJI["mentions"] if m["text"] == "cell lung cancer, gef")
    pieces = marked(page, 1)[crossing]
    assert len(pieces) > 1
    assert "".join(pieces) == "cell lung cancer, gef"


def test_parts_of_a_discontinuous_mention_and_one_that_was_not_found(page: Any) -> None:
    assert marked(page, 3) == {0: ["breast", "cancer"]}
    card(page, 3).locator(".mentions summary").click()
    card(page, 3).locator(".mentions tbody").wait_for()
    rows = card(page, 3).locator(".mentions tbody tr").all_text_contents()
    assert rows == [
        "breast cancerdisease0–25MESH:D0019430.50",
        "BRCA syndromediseasenot in the text",
    ]


def test_texts_are_inert(page: Any) -> None:
    assert page.locator("img").count() == 0
    assert card(page, 4).locator(".text p").text_content() == HOSTILE
    assert HOSTILE in card(page, 0).locator(".errors").text_content()


def test_a_type_can_be_switched_off_and_on(page: Any) -> None:
    chip = page.get_by_role("button", name=re.compile("^chemical 4$"))
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    hidden = page.locator("mark.off")
    assert hidden.count() == page.locator("mark[data-type=chemical]").count() > 0
    background = hidden.first.evaluate("mark => getComputedStyle(mark).backgroundColor")
    assert background == "rgba(0, 0, 0, 0)"
    assert page.locator("mark[data-type=disease].off").count() == 0
    chip.press("Enter")
    assert page.locator("mark.off").count() == 0


def test_documents_are_filtered_by_status_and_text(page: Any) -> None:
    shown = page.locator("article:visible")
    page.locator("#statuses").get_by_role("button", name="ok 3").click()
    assert shown.count() == 2
    assert page.locator("#shown").text_content() == "2 of 5 documents"
    page.locator("#statuses").get_by_role("button", name="ok 3").click()
    page.get_by_role("searchbox").fill("egfr MUTATION")
    assert shown.count() == 1
    page.get_by_role("searchbox").fill("呼吸困难")
    assert shown.locator(".id").all_text_contents() == ["zh-1"]
    page.get_by_role("searchbox").fill("nowhere")
    assert page.get_by_text("No document matches.").is_visible()


def test_a_relation_lights_its_mentions(page: Any) -> None:
    relation = card(page, 1).locator(".relation")
    assert relation.text_content() == "gefitinib—treatment→lung cancer0.90"
    lit = page.locator("mark.lit")
    relation.hover()
    by_id = {m["id"]: m["text"] for m in EMOJI["mentions"]}
    ids = {int(id_) for id_ in lit.evaluate_all("marks => marks.map(mark => mark.dataset.id)")}
    assert {by_id[id_] for id_ in ids} == {"gefitinib", "lung cancer"}
    assert len(ids) == 4
    page.mouse.move(0, 0)
    assert lit.count() == 0
    relation.focus()
    assert lit.count() > 0
    relation.blur()
    assert lit.count() == 0


def test_the_tooltip_names_the_types_from_the_inside_out(page: Any) -> None:
    card(page, 1).locator("mark mark", has_text="EGFR").hover()
    assert page.locator("#tip strong").all_text_contents() == ["gene", "variant"]
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_raw_answers_open_on_demand(page: Any) -> None:
    answers = card(page, 1).locator(".answers")
    assert answers.locator("li").count() == 0
    answers.get_by_text("Raw answers (2, 68 tokens)").click()
    assert answers.locator("pre").text_content() == "disease: lung cancer </pre>"
    assert "1,200 prompt tokens (1,000 cached)" in answers.locator("li").first.text_content()
    assert answers.locator(".error").text_content() == "too long"


def test_a_long_text_is_folded_until_asked_for(browser: Any, tmp_path: Path) -> None:
    long = mentioned(row(("text", "en", "word " * 2000 + "aspirin")), ("chemical", "aspirin"))
    file = tmp_path / "long.html"
    file.write_text(write_report([long], TOTALS, RUN), "utf-8")
    opened = browser.new_page()
    opened.goto(file.as_uri())
    height = "document.querySelector('.text').clientHeight"
    folded = opened.evaluate(height)
    opened.get_by_role("button", name="Show the whole text (10,007 characters)").click()
    assert opened.evaluate(height) > folded
    assert opened.locator(".text p").text_content() == text_of(long)
    opened.close()


def test_errors_and_status_are_shown(page: Any) -> None:
    assert card(page, 2).locator(".badge").text_content() == "partial"
    errors = card(page, 2).locator(".errors").text_content()
    assert errors == "cut offner, window 0 cut at 512 tokens"
    assert card(page, 0).locator("h2").text_content() == "A fault of the source"


def test_a_phone_sees_no_sideways_scrolling(page: Any) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400

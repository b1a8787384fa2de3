"""The page at `/` in a real browser, against the real application with the fake engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from taiyi_ray.config import ServeConfig
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.serve import api, task_routes
from taiyi_ray.serve.admission import Admission
from taiyi_ray.serve.gate import RequestCounter
from taiyi_ray.serve.keys import Keys, add_key
from taiyi_ray.tasks.template import PLAIN_FORM
from tests.serve.serving import application, client, listening

ENGLISH = "Aspirin eased headache in patients with migraine. It raised expression of COX-2."
ASTRAL = "🧬 𝛂-synuclein 👩🏽‍⚕️ headache in patients with migraine 🧠."
CHINESE = "术后第2天患者出现呼吸困难，胸部X线片及BNP未见异常。"


# ------------------------------------------------------------------------------------ the file


def test_the_policy_names_one_script_and_one_style_and_lets_nothing_else_in():
    with client() as service:
        answer = service.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src 'sha256-" in policy and "unsafe" not in policy
    assert not re.search(r"\s(style|on\w+)=", answer.text.partition("<body>")[2])
    assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in answer.text


# ---------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with listening(application()) as url:
        yield url


@contextmanager
def opened(browser: Any, url: str, *, refusals: int = 0, **context: Any) -> Iterator[Any]:
    """The page; fails on a request to elsewhere, and on what the console says.

    Args:
        refusals: how many responses with an error there will be: the browser itself says each.
    """
    context = browser.new_context(reduced_motion="reduce", **context)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    page = context.new_page()
    page.set_default_timeout(15_000)
    said: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: r.url.startswith(url) or elsewhere.append(r.url))
    page.goto(url)
    yield page
    context.close()
    assert elsewhere == []
    assert [one for one in said if "Failed to load resource" not in one] == []
    assert len(said) == refusals, said


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as page:
        page.get_by_role("checkbox", name="ner").wait_for()
        yield page


def annotate(page: Any, text: str | None = None) -> dict[str, Any]:
    """Press the button, and return the row that came back when it is shown."""
    if text is not None:
        page.get_by_label("Text", exact=True).fill(text)
    with page.expect_response("**/v1/annotate") as answered:
        page.get_by_role("button", name="Annotate").click()
    page.get_by_role("status").filter(has_text="Done").wait_for()
    return answered.value.json()["rows"][0]


def marked(page: Any) -> dict[int, str]:
    """The texts of the marks by mention id, cut pieces of one mention put together."""
    pieces = page.locator("mark").evaluate_all(
        "marks => marks.map(mark => [Number(mark.dataset.id), mark.textContent])"
    )
    found: dict[int, str] = {}
    for id_, text in pieces:
        found[id_] = found.get(id_, "") + text
    return found


def lit(page: Any) -> set[int]:
    ids = page.locator("mark.lit").evaluate_all("marks => marks.map(mark => mark.dataset.id)")
    return {int(id_) for id_ in ids}


@pytest.mark.parametrize(("text", "language"), [(ENGLISH, "en"), (CHINESE, "zh"), (ASTRAL, "en")])
def test_a_text_is_shown_with_its_mentions(page: Any, text: str, language: str) -> None:
    row = annotate(page, text)
    assert row["mentions"]
    assert marked(page) == {m["id"]: m["text"] for m in row["mentions"]}
    shown = page.locator(".text p")
    assert shown.all_text_contents() == [text]
    assert shown.get_attribute("lang") == language
    assert page.get_by_label("Text", exact=True).get_attribute("lang") == language


def test_every_sample_is_annotated_in_its_form(page: Any) -> None:
    samples = page.locator("#samples").get_by_role("button")
    forms = []
    for sample in samples.all():
        sample.click()
        row = annotate(page)
        assert row["status"] == "ok"
        forms.append([passage["type"] for passage in row["passages"]])
    turns = ["patient", "doctor", "patient", "doctor", "patient"]
    assert forms == 2 * [["title", "abstract"], ["text"], turns, ["text", "text"]]


def test_a_sample_can_be_undone(page: Any) -> None:
    field = page.get_by_label("Text", exact=True)
    field.fill(ENGLISH)
    page.get_by_role("button", name="病例报告").click()
    assert field.input_value().startswith("患者男性")
    field.press("Control+z")
    assert field.input_value() == ENGLISH


def test_mentions_around_the_same_characters_are_named_together(page: Any) -> None:
    row = annotate(page, ENGLISH)  # asked about apart, the fake engine finds each word of each type
    names = page.locator("mark[data-name]").evaluate_all("marks => marks.map(m => m.dataset.name)")
    assert len(row["mentions"]) == 9 * len(names)
    assert set(names) == {"anatomy, cell line +7"}
    label = page.locator("mark[data-name]").first.evaluate(
        "mark => getComputedStyle(mark, '::after').content"
    )
    assert "anatomy, cell line +7" in label
    page.get_by_role("button", name=re.compile("^anatomy")).click()
    assert (
        page.locator("mark[data-name]").first.get_attribute("data-name") == "cell line, chemical +6"
    )
    page.get_by_role("button", name="Type names").click()
    label = page.locator("mark[data-name]").first.evaluate(
        "mark => getComputedStyle(mark, '::after').content"
    )
    assert label in ("none", "normal")


def test_a_relation_lights_its_mentions_on_hover_and_focus(page: Any) -> None:
    page.get_by_role("button", name="Abstract").click()
    row = annotate(page)
    relation = page.locator(".relation").first
    wanted = {*row["relations"][0]["head"], *row["relations"][0]["tail"]}
    relation.hover()
    assert lit(page) == wanted
    page.mouse.move(0, 0)
    assert lit(page) == set()
    relation.focus()
    assert lit(page) == wanted


def test_a_mention_shows_its_details_and_its_relations(page: Any) -> None:
    page.get_by_label("Scores").check()
    page.get_by_role("button", name="Abstract").click()
    row = annotate(page)
    scored = next(m for m in row["mentions"] if m["score"] is not None)
    related = [r for r in row["relations"] if scored["id"] in (*r["head"], *r["tail"])]
    page.locator(f'mark[data-id="{scored["id"]}"]').first.focus()
    details = page.get_by_role("tooltip").text_content()
    for told in (scored["type"], f"{scored['start']}–{scored['end']}", f"{scored['score']:.2f}"):
        assert told in details
    assert page.locator(".relation.lit").count() == len(related)
    assert lit(page) == {scored["id"]}
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("mark").last.click()
    assert page.locator("#tip").is_visible()


def test_types_are_chosen_and_added(page: Any) -> None:
    page.get_by_role("group", name="mention types").get_by_role("checkbox").evaluate_all(
        "boxes => boxes.forEach(box => box.value === 'gene' || box.click())"
    )
    page.locator("#others-ner").fill("drug class, 检查")
    page.locator("#tasks input[value=re]").uncheck()
    row = annotate(page, ENGLISH)
    assert {types for a in row["answers"] for types in a["types"]} == {"gene", "drug class", "检查"}
    assert {a["task"] for a in row["answers"]} == {"ner"}
    looks = page.locator("mark").evaluate_all("marks => marks.map(m => m.className.split(' ')[0])")
    assert len(set(looks)) == 3 and "plain" not in looks


def test_all_tasks_with_their_examples_and_what_they_answer(page: Any) -> None:
    for box in page.locator("#tasks > li > label input").all():
        box.check()
    page.get_by_role("button", name="Consultation").click()
    row = annotate(page)
    assert row["status"] == "ok"
    found = page.get_by_role("complementary", name="What was found")
    for label in row["labels"]:
        assert label["label"] in found.text_content()
    for text in row["texts"]:
        assert text["text"] in found.text_content()
    assert found.get_by_role("heading", name=f"Events ({len(row['events'])})").is_visible()
    page.get_by_text("Not asked (").click()
    assert "similarity" in page.locator(".reasons dl").text_content()


def test_the_raw_prompt_and_answer_of_each_question(page: Any) -> None:
    row = annotate(page, ENGLISH)
    facts = page.locator("article .facts").first.text_content()
    assert f"{len(row['answers'])} questions" in facts
    assert re.search(r"\d+\.\d\d s here, \d+\.\d\d s at the service", facts)
    page.get_by_text("Raw answers (").click()
    answers = page.locator(".answers > ol > li")
    answers.first.wait_for()
    assert answers.count() == len(row["answers"])
    raw = [one.get_by_label("raw answer").text_content() for one in answers.all()]
    assert raw == [answer["raw"] for answer in row["answers"]]
    answers.first.get_by_text("Prompt", exact=True).click()
    assert ENGLISH in answers.first.get_by_label("prompt, user").text_content()


def test_the_row_is_copied_as_json(page: Any) -> None:
    row = annotate(page, ENGLISH)
    page.get_by_role("button", name="Copy as JSON").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == row
    assert "clipboard" in page.get_by_role("status").text_content()


def test_the_row_is_copied_where_the_browser_has_no_clipboard_for_pages(page: Any) -> None:
    """As on a page that came over plain HTTP."""
    row = annotate(page, CHINESE)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {get: () => undefined})")
    copying = page.get_by_role("button", name="Copy as JSON")
    copying.press("Enter")
    page.get_by_role("button", name="Copied").wait_for()
    field = page.get_by_label("Text", exact=True)
    field.fill("")
    field.press("Control+v")
    assert json.loads(field.input_value()) == row


def test_what_is_wrong_in_the_form_is_told_at_its_field(page: Any) -> None:
    page.get_by_role("button", name="Annotate").click()
    assert "There is no text yet" in page.get_by_role("alert").text_content()
    assert page.locator("#text:focus[aria-invalid=true]").count() == 1
    page.get_by_label("Text", exact=True).fill(ENGLISH)
    page.locator("#tasks input[value=tc]").check()
    page.locator("#options-tc").fill("{labels")
    page.get_by_role("button", name="Annotate").click()
    assert "tc: the options are not JSON" in page.get_by_role("alert").text_content()
    assert page.locator("#options-tc:focus[aria-invalid=true]").count() == 1


def test_an_error_of_the_service_is_shown_in_its_words(browser: Any, address: str) -> None:
    with opened(browser, address, refusals=1) as page:
        page.get_by_role("button", name="Abstract").click()
        page.locator("#tasks input[value=tc]").check()
        page.locator("#options-tc").fill('{"labels": []}')
        page.get_by_role("button", name="Annotate").click()
        alert = page.get_by_role("alert").filter(has_text="options: tc: labels: expected one name")
        alert.wait_for()
        assert page.locator("#options-tc:focus").count() == 1
        page.locator("#tasks input[value=tc]").uncheck()
        annotate(page)
        assert page.get_by_role("alert").count() == 0


def test_a_document_that_went_wrong_says_so(browser: Any) -> None:
    app = application(engine_args={"refuse": 1.0})
    with listening(app) as url, opened(browser, url) as page:
        page.get_by_role("checkbox", name="ner").wait_for()
        row = annotate(page, ENGLISH)
        assert row["status"] == "failed"
        assert page.locator(".badge").text_content() == "failed"
        assert row["errors"][0]["message"] in page.locator(".errors").text_content()


def test_a_service_that_is_gone(browser: Any) -> None:
    with listening(application()) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.get_by_role("checkbox", name="ner").wait_for()
    page.get_by_label("Text", exact=True).fill(ENGLISH)
    page.get_by_role("button", name="Annotate").click()
    page.get_by_role("alert").filter(has_text="The service does not answer").wait_for()
    context.close()


def test_a_key_is_asked_for_and_kept_for_the_tab_only(browser: Any, tmp_path: Any) -> None:
    file = str(tmp_path / "keys.yaml")
    key = add_key(file, "alice")
    with (
        listening(application(api_keys_file=file)) as url,
        opened(browser, url, refusals=2) as page,
    ):
        field = page.get_by_label("API key")
        field.wait_for()
        assert page.locator("#key:focus").count() == 1
        assert "a key is needed" in page.get_by_role("alert").text_content()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text="this key is unknown").wait_for()
        field.fill(key)
        page.get_by_role("button", name="Use it").click()
        page.get_by_role("checkbox", name="ner").wait_for()
        assert field.is_hidden()
        annotate(page, ENGLISH)
        page.reload()
        page.get_by_role("checkbox", name="ner").wait_for()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.get_by_role("button", name="Forget the key").click()
        assert page.evaluate("sessionStorage.length") == 0


def test_what_is_cancelled_ends_at_the_service_too(browser: Any) -> None:
    app = application(engine_args={"latency": 3600})
    with listening(app) as url, opened(browser, url) as page:
        page.get_by_role("checkbox", name="ner").wait_for()
        field = page.get_by_label("Text", exact=True)
        field.fill(ENGLISH)
        field.press("Control+Enter")
        page.get_by_role("status").filter(has_text="Annotating").wait_for()
        assert page.locator("#result[aria-busy=true]").count() == 1
        assert page.get_by_role("button", name="Annotate").get_attribute("aria-disabled") == "true"
        while httpx.get(f"{url}/health").json()["slots_taken"] != 1:
            page.wait_for_timeout(20)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("status").filter(has_text="Cancelled").wait_for()
        assert page.locator("#annotate:focus").count() == 1
        assert page.get_by_role("button", name="Cancel").count() == 0
        while httpx.get(f"{url}/health").json()["slots_taken"]:
            page.wait_for_timeout(20)


class _Uncounted(RequestCounter):
    def request(self, *_: Any) -> None:
        """Metrics are tested elsewhere."""


def with_adapter() -> Any:
    """The application with a list of models as vLLM's serving classes give it; they want vLLM."""
    config = ServeConfig(engine="fake", context_length=4096)
    asked = APIRouter()

    @asked.get("/v1/models")
    async def models() -> dict[str, Any]:
        ids = ["taiyi", "taiyi:ner"]
        return {"object": "list", "data": [{"id": id_, "object": "model"} for id_ in ids]}

    async def find(name: str | None) -> task_routes.ServedModel:
        return task_routes.ServedModel(None, str(name), PLAIN_FORM)

    admission = Admission(64)
    annotations = task_routes.RequestAnnotator(FakeEngine(4096), config, find, lambda row: None)
    return api.application(
        [task_routes.router(annotations, config, admission), asked],
        Keys(None),
        _Uncounted(),
        APIRouter(),
        most_bytes=1 << 20,
        most_bytes_at={},
        time_limit=60,
    )


def test_a_model_is_chosen_where_there_are_several(browser: Any, page: Any) -> None:
    assert page.locator("#model-field").is_hidden()
    with listening(with_adapter()) as url, opened(browser, url) as page:
        page.get_by_label("Model").select_option("taiyi:ner")
        annotate(page, ENGLISH)
        assert "model taiyi:ner" in page.locator("article .facts").first.text_content()


# ------------------------------------------------------------------- without a pointer, or colour


def tab_until(page: Any, selector: str) -> None:
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_the_keyboard_is_enough(page: Any) -> None:
    tab_until(page, ".skip")
    tab_until(page, "#text")
    page.keyboard.type(ENGLISH)
    tab_until(page, "#samples button")
    tab_until(page, "#scores")
    page.keyboard.press("Space")
    tab_until(page, "#tasks input[value=ner]")
    tab_until(page, "#ask-about")
    page.keyboard.press("ArrowDown")
    tab_until(page, "#annotate")
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="Done").wait_for()
    assert page.locator("#result:focus").count() == 1
    tab_until(page, "mark")
    first = page.evaluate("document.activeElement.dataset.id")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.id") != first
    assert page.locator("#tip").is_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.dataset.id") == first
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('mark')") is False
    tab_until(page, "details.mentions summary")
    page.keyboard.press("Enter")
    tab_until(page, ".mentions td button")
    assert lit(page)


def test_who_writes_keeps_the_cursor(page: Any) -> None:
    field = page.get_by_label("Text", exact=True)
    field.fill(ENGLISH)
    field.press("Control+Enter")
    page.get_by_role("status").filter(has_text="Done").wait_for()
    assert page.locator("#text:focus").count() == 1


def test_the_accessibility_tree_names_all_that_can_be_used(page: Any) -> None:
    for box in page.locator("#tasks > li > label input").all():
        box.check()
    annotate(page, ENGLISH)
    for summary in page.locator("article summary").all():
        summary.click()
    tree = page.locator("body").aria_snapshot()
    # Not "group": a <details> is one, and named by its summary.
    roles = "button|checkbox|combobox|textbox|link|region|form|complementary|article"
    assert not re.findall(rf"^\s*- (?:{roles})(?: \[[^]]*\])*:?$", tree, re.MULTILINE)
    for landmark in ("banner:", "main:", 'form "What to annotate":', 'region "Result":'):
        assert f"- {landmark}" in tree
    assert 'complementary "What was found"' in tree
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_of_types_can_be_read_on_their_colours(
    browser: Any, address: str, scheme: str
) -> None:
    """4.5 to 1, as WCAG 2.2 AA asks, in three marks within each other."""
    with opened(browser, address, color_scheme=scheme) as page:
        page.get_by_role("button", name="Abstract").click()
        annotate(page)
        ratios = page.evaluate(_CONTRASTS)
    assert len(ratios) == 3 * 12
    assert min(ratios) >= 4.5


_CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const painted = (...layers) => {
    for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = Array.from(canvas.getImageData(0, 0, 1, 1).data)
      .map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const card = document.querySelector("article");
  const under = getComputedStyle(card).backgroundColor;
  return Array.from({length: 12}, (_, n) => {
    const layers = [under];
    let around = card.querySelector(".text p");
    return [1, 2, 3].map(() => {
      const mark = document.createElement("mark");
      mark.className = `c${n}`;
      mark.dataset.name = "type";
      around.append(mark);
      around = mark;
      layers.push(getComputedStyle(mark).backgroundColor);
      const back = painted(...layers), front = painted(getComputedStyle(mark, "::after").color);
      return (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
    });
  }).flat();
}"""


def test_a_phone_sees_no_sideways_scrolling(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for box in page.locator("#tasks > li > label input").all():
        box.check()
    page.get_by_role("button", name="Abstract").click()
    annotate(page)
    for summary in page.locator("article summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_texts_are_inert(page: Any) -> None:
    hostile = "</script><img src=x onerror=\"document.title='owned'\"> headache &lt; {{ 7 * 7 }}"
    annotate(page, hostile)
    assert page.locator(".text p").text_content() == hostile
    assert page.locator("img").count() == 0
    assert page.title() != "owned"

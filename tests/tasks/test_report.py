"""Reports by sections: both forms, what a section is, gold there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.nothing import is_said
from taiyi_ray.records import Annotations, Document, Text, passages
from taiyi_ray.tasks.report import SECTIONS
from tests.samples import asked, back, chinese, english

LEAD_IN = "The report is as follows:"


def gold_of(**sections: str) -> Annotations:
    return Annotations(texts=[Text(f"report:{name}", text) for name, text in sections.items()])


def test_chinese_form_is_that_of_taiyi() -> None:
    (question,) = asked("report").questions(chinese("患者头痛两天。"))
    gold = gold_of(chief_complaint="头痛两天。", advice="多休息。")
    assert asked("report").task.target(question, gold) == (
        "上述问诊对话的诊疗报告如下：\n主诉：头痛两天。\n现病史：\n辅助检查：\n既往史：\n"
        "诊断：\n建议：多休息。"
    )


def test_turns_are_shown_with_who_speaks() -> None:
    parts = [("title", "Visit"), ("patient", "It hurts."), ("doctor", "Where?")]
    document = Document("d", passages((type_, "en", text) for type_, text in parts))
    (question,) = asked("report", document_first=True).questions(document)
    text = question.messages[0]["content"].partition("\n\n")[0]
    assert text == "Visit\nPatient: It hurts.\nDoctor: Where?"
    assert question.window.text == document.text


@pytest.mark.parametrize(
    ("answer", "sections", "problem"),
    [
        (f"{LEAD_IN}\nDiagnosis: flu\nPlan: rest", {"diagnosis": "flu", "Plan": "rest"}, None),
        ("Diagnosis: flu\nor a cold\nPlan: none", {"diagnosis": "flu\nor a cold"}, None),
        ("Here it is\nDiagnosis: flu", {"diagnosis": "flu"}, "invalid"),
        ("a report", {}, "invalid"),
        (" ", {}, "empty"),
        (LEAD_IN, {}, "invalid"),
        (f"{LEAD_IN}\nDiagnosis: none\nPlan: none", {}, None),
        (f"{LEAD_IN}\nDiagnosis: Not mentioned.\nPlan: N/A", {}, None),
        ("Diagnosis: No diagnosis is given in the text.\nPlan: 无。", {}, None),
        ("Diagnosis: no pain\nPlan: none today", {"diagnosis": "no pain"}, None),
        ("**Diagnosis:** flu\n2. Plan: rest", {"diagnosis": "flu", "Plan": "rest"}, None),
        ("## Diagnosis\nflu\n\n## Plan\n- rest", {"diagnosis": "flu", "Plan": "- rest"}, None),
        ("```\nDiagnosis: flu\n```", {"diagnosis": "flu"}, None),
    ],
)
def test_answers(answer: str, sections: dict[str, str], problem: str | None) -> None:
    assignment = asked("report", sections=["Diagnosis", "Plan"])
    document = english("text")
    (question,) = assignment.questions(document)
    parsed = assignment.task.parse(answer, question, document)
    assert parsed.annotations == gold_of(**sections)
    assert parsed.problem == problem


LINE = st.text("aB 中：:;.无\n", min_size=1).map(str.strip).filter(lambda s: s and not is_said(s))


@given(sections=st.dictionaries(st.sampled_from([t.name for t in SECTIONS]), LINE, min_size=1))
def test_any_sections_come_back_but_for_their_line_breaks(sections: dict[str, str]) -> None:
    gold = gold_of(**sections)
    found = back(asked("report"), chinese("文本"), gold)
    order = [f"report:{term.name}" for term in SECTIONS if term.name in sections]
    assert [text.task for text in found.texts] == order
    for text in found.texts:
        assert text.text == sections[text.task.removeprefix("report:")].replace("\n", " ")


def test_gold_reports_come_back(shared_data: Path) -> None:
    """IMCS-V2-MRG, as PromptCBLUE has it: the whole answer is Taiyi's, to the letter.

    Sections that say that there is nothing (`暂无。`) give no text, as an empty one does.
    """
    folder = shared_data / "promptcblue-toy"
    records = [json.loads(line) for line in (folder / "dev.jsonl").read_text("utf-8").splitlines()]
    reports = [r for r in records if r["task_dataset"] == "IMCS-V2-MRG"]
    assert len(reports) == 5
    names = {term.zh: term.name for term in SECTIONS}
    gold_of_id = {
        record["sample_id"]: gold_of(**{names[k]: v for k, v in record["answer"].items() if v})
        for record in json.loads((folder / "dev_structured.json").read_text("utf-8"))["IMCS-V2-MRG"]
    }
    for record in reports:
        document, gold = chinese(record["input"]), gold_of_id[record["sample_id"]]
        (question,) = asked("report").questions(document)
        assert asked("report").task.target(question, gold) == record["target"]
        told = [text for text in gold.texts if text.text not in ("无。", "暂无。", "暂无")]
        assert back(asked("report"), document, gold).texts == told

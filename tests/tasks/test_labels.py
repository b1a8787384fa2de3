"""Labels in answers: under their heads and free, one and more; gold there and back."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taiyi_ray import catalogue
from taiyi_ray.records import Annotations, Document, Label
from taiyi_ray.tasks import labels
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Counts, Question
from tests.samples import asked, back, chinese, corpus, english

NAMES = ["Treatment", "Risk: high", "risk: low"]
ONE, MULTI_LABEL = asked("tc", labels=NAMES), asked("tc", labels=NAMES, multi_label=True)


def ask(document: Document, multi_label: bool) -> Question:
    (question,) = (MULTI_LABEL if multi_label else ONE).questions(document)
    return question


def gold_of(key: str, *names: str) -> Annotations:
    return Annotations(labels=[Label(key, name) for name in names])


@pytest.mark.parametrize(
    ("answer", "multi_label", "found", "problem"),
    [
        ("Result: Treatment", False, ["Treatment"], None),
        ("Treatment", False, ["Treatment"], None),
        ("result: treatment.", False, ["Treatment"], None),
        ("The label is: **Treatment**", False, ["Treatment"], None),
        ("Risk: high", False, ["Risk: high"], None),
        ("Result: RISK: LOW", False, ["risk: low"], None),
        ("Result: Treatment; Risk: high", False, ["Treatment"], "invalid"),
        ("Result: none", False, [], "invalid"),
        ("Result: Prognosis", False, [], "invalid"),
        ("Result:", False, [], "invalid"),
        ("", False, [], "invalid"),
        ("Result: Treatment; Risk: high", True, ["Treatment", "Risk: high"], None),
        ("Result: Treatment; Treatment", True, ["Treatment"], None),
        ("Result: none", True, [], None),
        ("None", True, [], None),
        ("Result: none.", True, [], None),
        ("**Result:** N/A", True, [], None),
        ("Result: None of the labels apply.", True, [], None),
        ("No label is true of the text.", True, [], None),
        ("Result: none.", False, [], "invalid"),
        ("**Result:** Treatment", False, ["Treatment"], None),
        ("Result:\n- Treatment\n- Risk: high", True, ["Treatment", "Risk: high"], None),
        ("1. **Risk: high**\n2. Treatment.", True, ["Risk: high", "Treatment"], None),
        ("Result: Treatment, Risk: high", True, ["Treatment", "Risk: high"], None),
        (
            "Result: Treatment、risk: low；Risk: high",
            True,
            ["Treatment", "risk: low", "Risk: high"],
            None,
        ),
        ("```\nResult: Treatment\n```", True, ["Treatment"], None),
        ("Result: Treatment; Prognosis", True, ["Treatment"], "invalid"),
        ("Result: Treatment\nRisk: high", True, ["Treatment", "Risk: high"], None),
    ],
)
def test_answers(answer: str, multi_label: bool, found: list[str], problem: str | None) -> None:
    document = english("text")
    parsed = MULTI_LABEL.task.parse(answer, ask(document, multi_label), document)
    assert [(label.task, label.label) for label in parsed.annotations.labels] == [
        ("tc", name) for name in found
    ]
    assert parsed.problem == problem


@pytest.mark.parametrize(
    ("answer", "multi_label", "found"),
    [
        ("Result: Treatment; Risk: hi", True, ["Treatment"]),
        ("Result: Treatment;", True, ["Treatment"]),
        ("Result: Treatment", True, []),
        ("Result: Treatment", False, []),
    ],
)
def test_of_a_cut_answer_whole_labels_count(
    answer: str, multi_label: bool, found: list[str]
) -> None:
    document = english("text")
    parsed = MULTI_LABEL.task.parse(answer, ask(document, multi_label), document, cut=True)
    assert [label.label for label in parsed.annotations.labels] == found


def test_labels_have_names_in_both_languages_and_scores() -> None:
    labelled = {"treatment": {"en": "Treatment", "zh": "治疗"}, "other": {"zh": "其他"}}
    document = chinese("体检多少钱")
    assignment = asked("tc", labels=labelled)
    (question,) = assignment.questions(document)
    assert "类型选项：治疗，其他" in question.messages[0]["content"]
    answer = "上述文本被分类为：治疗"
    assert assignment.task.target(question, gold_of("tc", "treatment")) == answer
    scores = Scores(answer, range(len(answer)), [-0.1] * 9 + [-1.0] * 2)
    (label,) = assignment.task.parse(answer, question, document, scores=scores).annotations.labels
    assert (label.label, round(label.score or 0, 3)) == ("treatment", 0.368)


@pytest.mark.parametrize("name", ["None", "无", "N/A", "no"])
def test_a_label_that_is_called_as_nothing_is_a_label(name: str) -> None:
    assignment = asked("tc", labels=["Treatment", name], multi_label=True)
    document = english("text")
    (question,) = assignment.questions(document)
    for answer in (f"Result: {name}", f"result: {name.upper()}.", f"- Treatment\n- {name}"):
        found = assignment.task.parse(answer, question, document)
        assert found.problem is None
        assert name in [label.label for label in found.annotations.labels]


def test_a_label_counts_before_the_name_of_another() -> None:
    assignment = asked("tc", labels={"B": {"en": "A"}, "A": {"en": "B"}})
    document = english("text")
    (question,) = assignment.questions(document)
    for name, label in (("A", "B"), ("B", "A")):
        answer = f"Result: {label}"
        assert assignment.task.target(question, gold_of("tc", name)) == answer
        parsed = assignment.task.parse(answer, question, document)
        assert parsed.annotations.labels == [Label("tc", name)]


def test_one_label_is_asked_for_about_the_first_window_and_several_about_each() -> None:
    document = english("One two three four. Five six seven eight.")
    assert [q.window.index for q in ONE.task.questions(document, ONE, 24)] == [0]
    assert [q.window.index for q in MULTI_LABEL.task.questions(document, MULTI_LABEL, 24)] == [0, 1]


def test_score_compares_task_and_label() -> None:
    mine, gold = gold_of("tc", "a", "b"), Annotations(labels=[Label("tc", "a"), Label("qa", "b")])
    assert labels.score(mine, gold) == Counts(tp=1, fp=1, fn=1)


NAME = (
    st.text("abAB :.,()-'治疗", min_size=1).map(str.strip).filter(lambda n: n and n not in "none")
)


@given(
    names=st.lists(NAME, min_size=1, max_size=4, unique=True),
    chosen=st.sets(st.integers(0, 3)),
    make=st.sampled_from([english, chinese]),
)
@example(names=["A", "A:"], chosen={1}, make=english)
def test_labels_of_any_name_come_back(names: list[str], chosen: set[int], make: Any) -> None:
    true = [name for n, name in enumerate(names) if n in chosen]
    multi_label = asked("tc", labels=names, multi_label=True)
    found = back(multi_label, make("文本 text"), gold_of("tc", *true))
    assert [label.label for label in found.labels] == true


# -------------------------------------------------------------------------------------------- gold


def test_gold_hallmarks_of_cancer_come_back(shared_data: Path) -> None:
    entry = catalogue.entry("hallmarks_of_cancer")
    assignment = asked("tc", **entry.options_of("tc"))
    assert (len(assignment.options.labels), assignment.options.multi_label) == (10, True)
    for document, gold in islice(corpus(shared_data, entry.name, "test"), 400):
        assert labels.score(back(assignment, document, gold), gold).fn == 0
        assert len(back(assignment, document, gold).labels) == len(gold.labels)


@pytest.mark.parametrize(
    ("name", "split", "classes"), [("KUAKE-QIC", "dev", 11), ("chip_ctc_15", "test", 15)]
)
def test_gold_classes_come_back(shared_data: Path, name: str, split: str, classes: int) -> None:
    assignment = asked("tc", **catalogue.entry(name).options_of("tc"))
    assert len(assignment.options.labels) == classes
    for document, gold in islice(corpus(shared_data, name, split), 300):
        assert back(assignment, document, gold).labels == gold.labels

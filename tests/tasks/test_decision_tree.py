"""Decision trees: the lines of nodes, what is a whole tree, trees there and back."""

from __future__ import annotations

import pytest

from taiyi_ray.records import Annotations, Text
from taiyi_ray.tasks import TASKS, decision_tree, losses
from taiyi_ray.tasks.decision_tree import Node
from tests.samples import asked, chinese, english

TREE = [
    Node(False, (("patient", "symptom", "fever"), ("patient", "symptom", "cough")), "or"),
    Node(True, (("patient", "drug", "ibuprofen"),)),
    Node(True, ()),
]
LINES = (
    "Condition (or): [patient, symptom, fever]; [patient, symptom, cough]\n"
    "Decision: [patient, drug, ibuprofen]\n"
    "Decision: none"
)
ZH = (
    "条件（且）：[患者, 临床表现, 发热]; [患者, 临床表现, 咳嗽]\n"
    "决策：[患者, 治疗药物, 布洛芬]\n决策：无"
)


def test_a_tree_is_written_and_read_back() -> None:
    assert decision_tree.write(TREE, "en") == LINES
    assert list(decision_tree.read(LINES)) == TREE
    assert decision_tree.write([n for n in decision_tree.read(ZH) if n], "zh") == ZH


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (LINES, True),
        (f"```\n{LINES}\n```", True),
        ("决策：无", True),
        ("Condition: [a, b, c]\nDecision: none", False),
        ("Decision: none\nDecision: none", False),
        ("Condition: none\nDecision: none\nDecision: none", False),
        ("Decision: [a, b]", False),
        ("Decision: [a, b, c, d]", False),
        ("决策：[甲，乙，丙，丁]", True),
        ("决策：[甲，乙, 丙]", True),
        ("决策：[甲, 乙，丙]", True),
        ("Decision: [ a ,b,c ]", True),
        ("Condition : [a, b, c]\nDecision: none\nDecision :none", True),
        ("Give ibuprofen.", False),
        ("", False),
    ],
)
def test_only_a_whole_tree_is_a_result(answer: str, whole: bool) -> None:
    document = english("Give ibuprofen in fever.")
    (question,) = asked("text2dt").questions(document)
    parsed = TASKS["text2dt"].parse(answer, question, document)
    assert bool(parsed.annotations.texts) == whole
    assert parsed.problem == (None if whole else "invalid" if answer else "empty")


def test_gold_trees_come_back_but_for_what_is_counted_as_lost() -> None:
    task = TASKS["text2dt"]
    for document, lines in ((english("fever"), LINES), (chinese("发热"), ZH)):
        (question,) = asked("text2dt").questions(document)
        gold = Annotations(texts=[Text("text2dt", lines)])
        assert task.lost(question, gold) == {}
        assert task.parse(task.target(question, gold), question, document).annotations == gold
        broken = Annotations(texts=[Text("text2dt", lines.rpartition("\n")[0])])
        assert task.lost(question, broken) == {losses.OTHERWISE: 1}


@pytest.mark.parametrize("tail", [" " * 50_000, "a，" * 25_000, "[a, b" * 10_000])
def test_an_answer_that_goes_on_and_on_in_a_triple_is_read_in_a_moment(tail: str) -> None:
    # Each would take hours if the reader tried every way to divide it.
    assert list(decision_tree.read(f"Condition (or): [{tail}x")) == [None]
    assert list(decision_tree.read(f"Condition{tail}x")) == [None]

"""Text to decision tree: the conditions that a text names, and what to do when they hold or not.

The answer has a line for each node, in the order of a walk that visits a condition, then the nodes
for the case that it holds, then those for the case that it does not (the order of Text2DT):

    en    Condition (or): [patient, symptom, fever]; [patient, symptom, cough]
          Decision: [patient, drug, ibuprofen]
          Decision: none
    zh    条件（或）：[患者, 临床表现, 发热]; [患者, 临床表现, 咳嗽]
          决策：[患者, 治疗药物, 布洛芬]
          决策：无

The form is ours: Taiyi publishes none. The result is one text, the lines of the tree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from taiyi_ray import nothing
from taiyi_ray.grounding import tree_grammar
from taiyi_ray.records import Annotations, Document, Text
from taiyi_ray.tasks import lines, losses, texts
from taiyi_ray.tasks.options import TaskOptions
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import Assignment, Parsed, Question, Task, shown

_CONDITION = {"en": "Condition", "zh": "条件"}
_DECISION = {"en": "Decision", "zh": "决策"}
_JOINED = {"en": {"and": " (and)", "or": " (or)"}, "zh": {"and": "（且）", "or": "（或）"}}
_BRACKETS = re.compile(r"\[([^\[\];\n]*)\]")
_HEAD = re.compile(
    r"(?:(?P<if>condition|条件)\s*+(?:[(（]\s*(?P<how>and|or|且|和|或)\s*[)）])?|decision|决策)"
    r"\s*+[:：]\s*",
    re.IGNORECASE,
)
_OR = ("or", "或")


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a decision tree.

    Attributes:
        decision: whether it is a decision (a leaf); else it is a condition.
        triples: subject, relation and object of each statement of the node.
        joined: whether all statements of a condition must hold, or one; None with one statement.
    """

    decision: bool
    triples: tuple[tuple[str, str, str], ...]
    joined: Literal["and", "or"] | None = None


def write(nodes: Iterable[Node], language: str) -> str:
    """The lines of a tree, whose nodes come in the order of the walk."""
    return "\n".join(_line(node, language) for node in nodes)


def _line(node: Node, language: str) -> str:
    triples = "; ".join(f"[{', '.join(triple)}]" for triple in node.triples)
    kind = (_DECISION if node.decision else _CONDITION)[language]
    joined = _JOINED[language][node.joined] if node.joined else ""
    return kind + joined + lines.COLON[language] + (triples or lines.NONE[language])


def read(text: str) -> Iterator[Node | None]:
    """Yield the nodes of an answer in either language; None for a line that is no node."""
    for line in (Piece(raw, 0).strip() for raw in text.splitlines()):
        if not line.text or lines.is_fence(line):
            continue
        head = _HEAD.match(line.text)
        rest = line.text[head.end() :] if head else ""
        stated = [_triple(inside) for inside in _BRACKETS.findall(rest)]
        triples = tuple(triple for triple in stated if triple)
        between = _BRACKETS.sub(lambda m: "" if _triple(m[1]) else m[0], rest).strip(" ;；")
        decision = head is not None and head["if"] is None
        empty = decision and not triples and nothing.is_word(between)
        if head is None or (between and not empty) or not (triples or empty):
            yield None
            continue
        joined: Literal["and", "or"] | None = None
        if not decision and len(triples) > 1:
            joined = "or" if (head["how"] or "").casefold() in _OR else "and"
        yield Node(decision, triples, joined)


def _triple(inside: str) -> tuple[str, str, str] | None:
    """Divide what stands in brackets at its commas; None unless this makes three parts.

    Only where there are fewer than two commas do Chinese ones divide too, the first ones first.
    """
    parts = inside.split(",", 3)
    while len(parts) < 3:
        at = next((number for number, part in enumerate(parts) if "，" in part), None)
        if at is None:
            return None
        parts[at : at + 1] = parts[at].split("，", 1)
    subject, relation, object_, *more = (part.strip() for part in parts)
    if more or not (subject and relation and object_):
        return None
    return subject, relation, object_


def is_tree(nodes: Iterable[Node | None]) -> bool:
    """Whether nodes are one whole tree: each condition has one for either case."""
    wanted = 1
    for node in nodes:
        if node is None or wanted == 0:
            return False
        wanted += -1 if node.decision else 1
    return wanted == 0


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language and window.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    return [
        assignment.ask(
            language,
            window,
            grammar=partial(
                tree_grammar,
                [_CONDITION[language] + how for how in ("", *_JOINED[language].values())],
                _DECISION[language],
                lines.COLON[language],
                lines.NONE[language],
            ),
        )
        for language, window in shown(document, limit)
    ]


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the nodes; an answer that is no whole tree has the problem `invalid` and no result.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    nodes = list(read(text))
    whole = [node for node in nodes if node]
    if not is_tree(nodes):
        return Parsed(Annotations(), "invalid" if text.strip() else "empty")
    written = write(whole, question.language)
    return Parsed(Annotations(texts=[Text(question.key, written)]))


def target(question: Question, gold: Annotations) -> str:
    """The lines of the gold tree, or a decision for nothing when there is no whole tree."""
    written = texts.target(question, gold)
    empty = write([Node(True, ())], question.language)
    return written if is_tree(read(written)) else empty


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold trees that do not come back, by reason."""
    back = write(filter(None, read(target(question, gold))), question.language)

    def not_back(item: losses.Stated) -> str | None:
        return None if item.key == back else losses.OTHERWISE

    of_key = [text.text for text in gold.texts if text.task == question.key]
    return losses.count(
        (
            losses.Stated(text, text, losses.SECOND if text.strip() != of_key[0].strip() else None)
            for text in of_key
        ),
        not_back,
    )


TASK = Task(
    name="text2dt",
    version=1,
    summary="text to decision tree: conditions, and what to do if they hold or not",
    results="`texts`, a line for each node of the tree",
    template="text2dt.v1",
    options=TaskOptions,
    questions=questions,
    read=parse,
    target=target,
    lost=lost,
    score=texts.score,
)

"""Relation extraction: the pairs of mentions that have one of the asked relations.

Answer forms are Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README and instruction examples):

    en    chemical-induced disease: [cocaine, seizures]; [cocaine, stroke]
    zh    具有药物治疗关系的实体对如下：[高血压, 氨氯地平]

Each relation has one line; a relation without a pair is left out. The answer without any pair is
`none` or `无`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from taiyi_ray import nothing
from taiyi_ray.forms import running
from taiyi_ray.grounding import pairs_grammar
from taiyi_ray.names import AROUND_HEADS
from taiyi_ray.records import Annotations, Document, Relation
from taiyi_ray.tasks import items, lines
from taiyi_ray.tasks.options import TaskOptions, named
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import (
    Assignment,
    Counts,
    Parsed,
    Question,
    Task,
    finder,
    located,
    shown,
)
from taiyi_ray.tasks.vocabulary import RELATION_TYPES, Term, hints


class Options(TaskOptions):
    """The types of relations."""

    relations: Annotated[tuple[Term, ...], named(RELATION_TYPES, AROUND_HEADS)] = Field(
        RELATION_TYPES, description="the types of relations to find (`--relations`)"
    )

    def hints(self) -> list[str]:
        return hints([term.name for term in self.relations], RELATION_TYPES)


def heads(types: Sequence[Term], language: str) -> list[str]:
    """What each line of the answer begins with."""
    if language == "zh":
        return [f"具有{term.zh}关系的实体对如下：" for term in types]
    return [term.en + lines.COLON["en"] for term in types]


def _grammar(types: Sequence[Term], text: str, language: str) -> str:
    return pairs_grammar(heads(types, language), "", lines.NONE[language], text, language)


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language and window, about all relations together.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    types = assignment.options.relations
    return [
        assignment.ask(
            language, window, types=types, grammar=_grammar(types, window.running.text, language)
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
    """Read the pairs; heads and tails become mentions without a type.

    A head or tail becomes one mention for each of its occurrences in the window.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    labels = [term.label(question.language) for term in question.types]
    if cut:
        text = lines.whole(text, *"])）】")
    lists, problem = lines.read(text, labels, heads(question.types, question.language))
    find, stands = finder(question)
    annotations = Annotations()
    ids: dict[str, list[int]] = {}

    def mentions_of(piece: Piece) -> list[int]:
        surface = piece.text
        if surface not in ids:
            first = len(annotations.mentions)
            spans, how = find(surface)
            score = scores.of(piece) if scores else None
            annotations.mentions.extend(located(document, None, surface, spans, how, score))
            ids[surface] = list(range(first, len(annotations.mentions)))
            for number in ids[surface]:
                annotations.mentions[number].id = number
        return list(ids[surface])

    for term, of_type in zip(question.types, lists, strict=True):
        told = items.said(of_type, labels, stands)
        pairs = items.pairs(told, stands)
        if told and not pairs:
            problem = problem or "invalid"
        for head, tail in pairs:
            if nothing.is_word(head.text) or nothing.is_word(tail.text):
                continue
            annotations.relations.append(
                Relation(
                    len(annotations.relations), term.name, head.text, tail.text,
                    mentions_of(head), mentions_of(tail),
                    scores.of(head, tail) if scores else None,
                )
            )  # fmt: skip
    if problem is None and any(m.grounded == "none" for m in annotations.mentions):
        problem = "not_in_text"
    return Parsed(annotations, problem)


def target(question: Question, gold: Annotations) -> str:
    """The answer that names the gold pairs whose two surfaces occur in the window, in text order.

    A pair cannot be written when its head or tail holds a separator or bracket; it is left out.
    """
    text = question.window.running.text
    items = []
    for term in question.types:
        inside = sorted(
            (text.find(head), text.find(tail), f"[{head}, {tail}]")
            for r in gold.relations
            if r.type == term.name
            for head, tail in [(running(r.head_text), running(r.tail_text))]
            if all(_writable(s) and s in text for s in (head, tail))
        )
        items.append("; ".join(dict.fromkeys(pair for _, _, pair in inside)))
    return lines.write(heads(question.types, question.language), items, "", question.language)


def _writable(surface: str) -> bool:
    return lines.writable(surface) and not any(c in surface for c in ("[", "]", ", "))


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of (type, head surface, tail surface), as running text without line ends."""
    mine, true = (
        [(r.type, running(r.head_text), running(r.tail_text)) for r in of.relations]
        for of in (predicted, gold)
    )
    return Counts.of(mine, true)


TASK = Task(
    name="re",
    version=3,
    summary="relation extraction: pairs of mentions that have one of the given relations",
    results="`relations`, with their `mentions`",
    template="re.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    score=score,
)

"""Read and write answers that name one or several of given labels, and make their grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from taiyi_ray import nothing
from taiyi_ray.grounding import labels_grammar
from taiyi_ray.records import Annotations, Label
from taiyi_ray.tasks import items, lines
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import Counts, Parsed, Question
from taiyi_ray.tasks.vocabulary import Term

_COLON = re.compile("[:：]")
_AROUND = " \t\"'“”‘’「」*()（）.。"


def grammar(head: str, labels: Sequence[Term], language: str, *, several: bool) -> str:
    """The Lark grammar of an answer: `head label`, or `head label1; label2`.

    Args:
        head: what the answer begins with; it may be empty.
        labels: the labels, in the order in which an answer names several.
        language: of the answer.
        several: whether several labels, or none, may be true.
    """
    none = lines.NONE[language] if several else None
    return labels_grammar(head, [term.label(language) for term in labels], none)


def parse(text: str, question: Question, head: str, *, cut: bool, scores: Scores | None) -> Parsed:
    """Read the labels of an answer.

    They stand after the head; a free answer may have them after any colon, in upper or lower case.
    A label that was not asked about makes the problem `invalid`, and so does a second label where
    only one may be true. The other labels are read nevertheless.

    Args:
        text: the answer.
        question: the question, whose types are the labels.
        head: what an answer in the form begins with.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    known = {term.label(question.language): term for term in question.types}
    for term in question.types:
        for label in (term.name, term.en, term.zh):
            known.setdefault(label, term)
    labels = tuple(known)
    folded = {label.casefold(): term for label, term in reversed(known.items())}

    def named(label: str) -> Term | None:
        bare = label.strip(_AROUND)
        return known.get(label) or folded.get(label.casefold()) or folded.get(bare.casefold())

    def is_label(text: str) -> bool:
        return named(text) is not None

    answer = Piece(text, 0).strip()
    end = items.end_of(text) if cut else None
    if head and answer.text.startswith(head.strip()):
        answer = answer.after(len(head.strip()))
    elif not is_label(_first_line(answer, is_label)) and (colon := _COLON.search(answer.text)):
        answer = answer.after(colon.end())
    found: dict[str, Piece] = {}
    problem = None if answer.text else "invalid"
    for part in _parts(answer, is_label, end):
        true = named(part.text)
        if true:
            found.setdefault(true.name, part)
        elif not (question.several and nothing.is_said(part.text, labels)):
            problem = "invalid"
    if not question.several and len(found) > 1:
        problem = "invalid"
        found = dict(list(found.items())[:1])
    return Parsed(
        Annotations(
            labels=[
                Label(question.key, name, scores.of(piece) if scores else None)
                for name, piece in found.items()
            ]
        ),
        problem,
    )


def _first_line(answer: Piece, is_label: items.Stands) -> str:
    first, *_ = answer.split("\n")
    return items.bare(first, is_label).text


def _parts(answer: Piece, is_label: items.Stands, end: int | None) -> Iterator[Piece]:
    """Yield the pieces of an answer that should each name a label.

    Args:
        answer: the answer after its head.
        is_label: says whether a piece names a label.
        end: the position where the answer was cut; the piece that ends there is dropped.
    """
    for line in (line.strip() for line in answer.split("\n")):
        if not line.text or lines.is_fence(line):
            continue
        parts: list[Piece] = []
        for part in (part.strip() for part in line.split(";")):
            # A label may end with a sign that usually closes a list, so it is tried as it is first.
            parts += [part] if is_label(part.text) else items.listed(part, is_label)
        yield from parts[:-1] if line.end == end else parts


def target(question: Question, gold: Annotations, head: str) -> str:
    """The answer that names the gold labels that were asked about, in the order of the question.

    Args:
        question: the question.
        gold: the gold annotations.
        head: what the answer begins with; it may be empty.
    """
    true = {label.label for label in gold.labels if label.task == question.key}
    named = [t.label(question.language) for t in question.types if t.name in true]
    return head + ("; ".join(named) or lines.NONE[question.language])


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of (task, label)."""
    mine = [(label.task, label.label) for label in predicted.labels]
    return Counts.of(mine, [(label.task, label.label) for label in gold.labels])

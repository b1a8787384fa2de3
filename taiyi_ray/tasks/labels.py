"""Read and write answers that name one or more of given labels, and make their grammar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from taiyi_ray import nothing
from taiyi_ray.grounding import labels_grammar
from taiyi_ray.records import Annotations, Label
from taiyi_ray.tasks import items, lines, losses
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import Counts, Parsed, Question
from taiyi_ray.tasks.vocabulary import Term

_AROUND = " \t\"'“”‘’「」*()（）.。"


def grammar(head: str, labels: Sequence[Term], language: str, *, multi_label: bool) -> str:
    """The Lark grammar of an answer: `head label`, or `head label1; label2`.

    Args:
        head: what the answer begins with; it may be empty.
        labels: the labels, in the order in which an answer names them.
        language: of the answer.
        multi_label: whether more than one label, or none, may be true.
    """
    none = lines.NONE[language] if multi_label else None
    return labels_grammar(head, [term.label(language) for term in labels], none)


class _LabelNames:
    """The labels of a question, by their names in either language.

    Args:
        types: the labels.
        language: the language of the answer, whose names win when two labels share a name.
    """

    def __init__(self, types: Sequence[Term], language: str) -> None:
        self._terms = {term.label(language): term for term in types}
        for term in types:
            for name in (term.name, term.en, term.zh):
                self._terms.setdefault(name, term)
        self._folded = {name.casefold(): term for name, term in reversed(self._terms.items())}

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the labels, in both languages."""
        return tuple(self._terms)

    def term(self, name: str) -> Term | None:
        """The label of this name, in upper or lower case, perhaps in quotes; None if unknown."""
        bare = name.strip(_AROUND)
        return (
            self._terms.get(name)
            or self._folded.get(name.casefold())
            or self._folded.get(bare.casefold())
        )

    def has(self, name: str) -> bool:
        """Whether a label has this name, as in `term`."""
        return self.term(name) is not None


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
    known = _LabelNames(question.types, question.language)
    answer = _behind_head(Piece(text, 0).strip(), head, known.has)
    end = items.end_of(text) if cut else None
    named: dict[str, Piece] = {}
    problem = None if answer.text else "invalid"
    for part in _parts(answer, known.has, end):
        term = known.term(part.text)
        if term:
            named.setdefault(term.name, part)
        elif not (question.multi_label and nothing.is_said(part.text, known.names)):
            problem = "invalid"
    if not question.multi_label and len(named) > 1:
        problem = "invalid"
        named = dict(list(named.items())[:1])
    labels = [
        Label(question.key, name, scores.of(piece) if scores else None)
        for name, piece in named.items()
    ]
    return Parsed(Annotations(labels=labels), problem)


def _behind_head(answer: Piece, head: str, is_label: items.Stands) -> Piece:
    """The answer after its head, or after the first colon when its first line is no label.

    Args:
        answer: the answer.
        head: what an answer in the form begins with; it may be empty.
        is_label: says whether a piece names a label.
    """
    if head and answer.text.startswith(head.strip()):
        return answer.after(len(head.strip()))
    if is_label(_first_line(answer, is_label)):
        return answer
    colon = lines.ANY_COLON.search(answer.text)
    return answer.after(colon.end()) if colon else answer


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
    names = [term.label(question.language) for term in _named(question, gold)]
    return head + ("; ".join(names) or lines.NONE[question.language])


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold labels that the answer does not name, by reason."""
    named = {term.name for term in _named(question, gold)}
    known = {term.name for term in question.types}

    def reason(label: str) -> str | None:
        if label not in known:
            return losses.NOT_ASKED
        return None if label in named else losses.SECOND

    return losses.count(
        losses.Stated(label.label, label.label, reason(label.label))
        for label in gold.labels
        if label.task == question.key
    )


def _named(question: Question, gold: Annotations) -> list[Term]:
    """The gold labels that an answer names: the first one where only one may be true."""
    true = {label.label for label in gold.labels if label.task == question.key}
    terms = [term for term in question.types if term.name in true]
    return terms if question.multi_label else terms[:1]


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of (task, label)."""
    mine, true = (
        [(label.task, label.label) for label in annotations.labels]
        for annotations in (predicted, gold)
    )
    return Counts.of(mine, true)

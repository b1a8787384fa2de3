"""Named entity recognition: the mentions of the asked types in the text.

Answer forms are Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README and instruction examples):

    many types, en    disease: breast cancer; ovarian cancer
                      gene or protein: BRCA1
    many types, zh    疾病：乳腺癌; 卵巢癌⏎            (full-width colon, closing line feed)
    one type, en      Here are the disease entities mentioned in the text: breast cancer
    one type, zh      上述文本中包含的疾病实体为：乳腺癌

Types without a mention are left out. Taiyi shows no answer for a text without any mention; ours is
`none` or `无`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Annotated, cast

from pydantic import Field

from taiyi_ray.config import Ask
from taiyi_ray.forms import running
from taiyi_ray.grounding import longest, mentions_grammar
from taiyi_ray.names import AROUND_HEADS
from taiyi_ray.records import Annotations, Document, Grounded, Mention, Span
from taiyi_ray.tasks import items, lines, losses
from taiyi_ray.tasks.options import TaskOptions, named
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import (
    Assignment,
    Counts,
    Parsed,
    Question,
    Task,
    Window,
    finder,
    located,
    shown,
)
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, Term, hints


class Options(TaskOptions):
    """The types of mentions, and how they are asked about."""

    types: Annotated[tuple[Term, ...], named(MENTION_TYPES, AROUND_HEADS)] = Field(
        MENTION_TYPES, description="the types of mentions to find (`--types`)"
    )
    ask: Ask = Field(
        "apart",
        description="`together`: one question asks about all types; `apart`: each type has a "
        "question of its own (`--ask`)",
    )

    def hints(self) -> list[str]:
        return hints([term.name for term in self.types], MENTION_TYPES)


def heads(types: Sequence[Term], language: str) -> list[str]:
    """What each line of the answer begins with."""
    labels = [term.label(language) for term in types]
    if len(labels) > 1:
        return [label + lines.COLON[language] for label in labels]
    if language == "zh":
        return [f"上述文本中包含的{labels[0]}实体为："]
    return [f"Here are the {labels[0]} entities mentioned in the text: "]


def _end(types: Sequence[Term], language: str) -> str:
    return "\n" if language == "zh" and len(types) > 1 else ""


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make the questions for each language and window: one about all types, or one for each type.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    options: Options = assignment.options
    groups = [options.types] if options.ask == "together" else [(t,) for t in options.types]
    return [
        _question(assignment, language, window, group)
        for language, window in shown(document, limit)
        for group in groups
    ]


def _question(
    assignment: Assignment, language: str, window: Window, types: tuple[Term, ...]
) -> Question:
    head, starts, none = lines.beginnings(
        heads(types, language), language, headed=assignment.headed
    )
    text = window.running.text
    grammar = partial(mentions_grammar, starts, _end(types, language), none, text, language)
    return assignment.ask(language, window, types=types, grammar=grammar, head=head)


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the lines of the answer and locate every mention wherever it occurs in the window.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    read, problem = _read(text, question, cut=cut)
    annotations = Annotations()
    for term, of_type in zip(question.types, read, strict=True):
        mentions: dict[tuple[int | None, int | None, str], Mention] = {}
        for piece, spans, how in of_type:
            score = scores.of(piece) if scores else None
            for mention in located(document, term.name, piece.text, spans, how, score):
                key = (mention.start, mention.end, mention.text)
                if key not in mentions or how == "exact":
                    mentions[key] = mention
        annotations.mentions.extend(mentions.values())
    for number, mention in enumerate(annotations.mentions):
        mention.id = number
    if problem is None and any(m.grounded == "none" for m in annotations.mentions):
        problem = "not_in_text"
    return Parsed(annotations, problem)


def _read(
    text: str, question: Question, *, cut: bool = False
) -> tuple[list[list[tuple[Piece, list[Span], Grounded]]], str | None]:
    """The surfaces that an answer names, for each type with their spans, and the problem, if any.

    Args:
        text: the answer.
        question: the question that was asked.
        cut: whether the answer stopped before its end.
    """
    labels = [term.label(question.language) for term in question.types]
    lists, problem = lines.read(text, labels, heads(question.types, question.language))
    find, stands = finder(question)
    end = items.end_of(text) if cut else None
    read = []
    for of_type in lists:
        pieces = {piece.text: piece for piece in items.mentions(of_type, labels, stands, end)}
        occurrences = {surface: find(surface) for surface in pieces}
        spans = longest({surface: spans for surface, (spans, _) in occurrences.items()})
        read.append([(pieces[s], spans[s], how) for s, (_, how) in occurrences.items()])
    return read, problem


def target(question: Question, gold: Annotations) -> str:
    """The answer that names the gold mentions of the window, in text order.

    A mention with a line end in it is written as running text. `lost` counts the mentions that
    cannot be written.
    """
    return lines.write(
        heads(question.types, question.language),
        ["; ".join(losses.written(of_type)) for of_type in _stated(question, gold)],
        _end(question.types, question.language),
        question.language,
    )


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold mentions that do not come back, by reason.

    An answer names words, and these are located wherever they occur. So an occurrence inside a word
    or a longer mention does not come back when the same words also occur elsewhere.
    """
    read, _ = _read(target(question, gold), question)
    spans = {
        (term.name, piece.text): found
        for term, of_type in zip(question.types, read, strict=True)
        for piece, found, _ in of_type
    }
    find, _ = finder(question)

    def not_back(item: losses.Stated) -> str | None:
        type_, start, end, _ = cast(_Key, item.key)
        if (type_, item.words) not in spans:
            return losses.misread([item.words])
        if Span(start, end) in spans[type_, item.words]:
            return None
        occurrences, _ = find(item.words)
        return losses.NESTED if Span(start, end) in occurrences else losses.IN_A_WORD

    return losses.count((item for of_type in _stated(question, gold) for item in of_type), not_back)


_Key = tuple[str, int, int, str]


def _stated(question: Question, gold: Annotations) -> list[list[losses.Stated]]:
    """The gold mentions of each type that belong to the question, in text order."""
    stated = []
    for term in question.types:
        mentions = [
            m
            for m in gold.mentions
            if m.type == term.name and losses.belongs(question.window, m.start)
        ]
        mentions.sort(key=lambda m: (m.start or 0, running(m.text)))
        stated.append(losses.bounded(question, [_as_stated(m, question) for m in mentions]))
    return stated


def _as_stated(mention: Mention, question: Question) -> losses.Stated:
    words = running(mention.text)
    reason = _unstated(mention, words, question)
    return losses.Stated(_key(mention), "" if reason else words, reason)


def _unstated(mention: Mention, words: str, question: Question) -> str | None:
    """Why an answer cannot name a gold mention; None if it can.

    Args:
        mention: the mention.
        words: its text as running text.
        question: the question.
    """
    if mention.start is None or mention.end is None:
        return losses.NO_OFFSETS
    if mention.spans:
        return losses.DISCONTINUOUS
    if not question.window.holds(mention.start, mention.end):
        return losses.OUTSIDE
    return losses.unwritable(words, ";") or losses.absent(words, question.window)


def _key(mention: Mention) -> tuple[str | None, int | None, int | None, str]:
    return (mention.type, mention.start, mention.end, mention.text)


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of (type, start, end, text).

    So a predicted mention without offsets can only match a gold mention without offsets.
    """
    return Counts.of(map(_key, predicted.mentions), map(_key, gold.mentions))


TASK = Task(
    name="ner",
    version=3,
    summary="named entity recognition: mentions of the given types",
    results="`mentions`",
    template="ner.v2",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    lost=lost,
    score=score,
)

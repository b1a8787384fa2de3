"""Concept normalisation: the entry of a terminology that a mention means.

The answer is the preferred name of one of the candidates, or `none` or `无` (Taiyi publishes no
form; PromptCBLUE's CHIP-CDN offers names to choose from in the same way). The mentions are those
that the input has, or every occurrence of a name of the terminology.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo

from taiyi_ray import nothing
from taiyi_ray.forms import running
from taiyi_ray.grounding import labels_grammar
from taiyi_ray.names import BETWEEN_ITEMS
from taiyi_ray.records import Annotations, Concept, Document, Mention
from taiyi_ray.tasks import labels, lines, losses, terminology
from taiyi_ray.tasks.options import FILES, TaskOptions
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import (
    Assignment,
    Counts,
    NotApplicable,
    Parsed,
    Question,
    Task,
    Window,
    shown,
)
from taiyi_ray.tasks.terminology import Entry, Terminology
from taiyi_ray.tasks.vocabulary import Term


@dataclass(frozen=True, slots=True)
class Candidate(Term):
    """An entry that an answer may name; its `name` is the identifier.

    Attributes:
        db: the terminology.
        preferred: the preferred name of the entry.
    """

    db: str
    preferred: str


def _terms(value: object, info: ValidationInfo) -> Terminology:
    if isinstance(value, Terminology):
        return value
    if isinstance(value, dict):
        return terminology.from_mapping(value)
    if not isinstance(value, str):
        raise ValueError("expected names by identifier, or a file of them")
    if not (info.context or {}).get(FILES):
        raise ValueError("a file is not read here: give the names by identifier")
    return terminology.read(value)


def _identity(terms: Terminology) -> dict[str, Any]:
    return {"entries": len(terms.entries), "digest": terms.digest}


class Options(TaskOptions):
    """The terminology, and the mentions whose entries are asked for."""

    terms: Annotated[Terminology, BeforeValidator(_terms), PlainSerializer(_identity)] = Field(
        description="the terminology: a file with an identifier, a tab and a name in each line "
        "(further names behind further tabs), or a mapping of identifiers to names"
    )
    db: str = Field("", description="what the terminology is called in the rows (`MESH`)")
    mentions: Literal["given", "names"] = Field(
        "given",
        description="`given`: the mentions that the input has (PubTator, BioC, brat, JSON Lines); "
        "`names`: every occurrence of a name of the terminology in the text",
    )
    candidates: int = Field(
        8, ge=1, le=100, description="how many entries a question offers to choose from"
    )

    @classmethod
    def example(cls) -> str:
        return "{terms: mesh.tsv, db: MESH}"


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each window and each different wording of a mention in it.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.

    Raises:
        NotApplicable: the document has no mentions of the kind that the options ask about.
    """
    options: Options = assignment.options
    made = [
        _question(assignment, language, window, mentions)
        for language, window in shown(document, limit)
        for mentions in _mentions(document, language, window, options)
    ]
    if not made:
        raise NotApplicable(
            "no name of the terminology is in the text"
            if options.mentions == "names"
            else "the input has no mentions with offsets"
        )
    return made


def asks(document: Document, assignment: Assignment) -> int:
    """How many questions there are about a document that is not cut into windows."""
    return sum(
        1
        for language, window in shown(document, None)
        for _ in _mentions(document, language, window, assignment.options)
    )


def _mentions(
    document: Document, language: str, window: Window, options: Options
) -> Iterator[tuple[Mention, ...]]:
    """Yield the mentions that begin in a window, those with the same type and words together.

    Args:
        document: the document.
        language: the language of the window.
        window: the window.
        options: the options, which say which mentions count.
    """
    groups: dict[tuple[str | None, str], list[Mention]] = {}
    if options.mentions == "given":
        for mention in document.gold.mentions:
            start = mention.start
            if start is not None and window.holds(start, start + 1):
                bare = replace(mention, concept=None, passage=document.passage_at(start))
                groups.setdefault((mention.type, running(mention.text)), []).append(bare)
    else:
        text = document.text
        for words, span in options.terms.occurrences(window.running, language):
            passage = document.passage_at(span.start)
            mention = Mention(0, None, text[span.start : span.end], span.start, span.end)
            groups.setdefault((None, words), []).append(replace(mention, passage=passage))
    yield from map(tuple, groups.values())


def _question(
    assignment: Assignment, language: str, window: Window, mentions: tuple[Mention, ...]
) -> Question:
    options: Options = assignment.options
    words = running(mentions[0].text)
    candidates = _offered(options.terms.candidates(words, options.candidates), options.db)
    names = [candidate.label(language) for candidate in candidates]
    return assignment.ask(
        language,
        window,
        types=candidates,
        grammar=partial(labels_grammar, "", [*names, lines.NONE[language]], None),
        mentions=mentions,
        mention=words,
    )


def _offered(entries: Sequence[Entry], db: str) -> tuple[Candidate, ...]:
    """The candidates, each with a label that differs from all others and from `none`.

    Args:
        entries: the entries.
        db: the terminology.
    """
    shown_ = [entry.names[0].translate(_NO_SEPARATORS) for entry in entries]
    candidates = []
    for entry, label in zip(entries, shown_, strict=True):
        folded = [other.casefold() for other in shown_]
        if folded.count(label.casefold()) > 1 or nothing.is_word(label):
            label = f"{label} [{entry.id}]".translate(_NO_SEPARATORS)
        candidates.append(Candidate(entry.id, label, label, db, entry.names[0]))
    return tuple(candidates)


_NO_SEPARATORS = str.maketrans(dict.fromkeys(BETWEEN_ITEMS, ","))


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the name of the entry, which becomes the concept of the mentions asked about.

    The mentions of an answer that names no entry are not among the results.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    read = labels.parse(text, question, "", cut=cut, scores=scores)
    named = read.annotations.labels
    if not named:
        return Parsed(Annotations(), read.problem)
    types: Sequence[Any] = question.types
    (entry,) = [candidate for candidate in types if candidate.name == named[0].label]
    concept = Concept(entry.db, entry.name, entry.preferred, named[0].score)
    mentions = [
        replace(mention, id=number, concept=concept)
        for number, mention in enumerate(question.mentions)
    ]
    return Parsed(Annotations(mentions), read.problem if len(named) == 1 else "invalid")


def target(question: Question, gold: Annotations) -> str:
    """The name of the entry that the mentions mean: of the first one that is among the candidates.

    `lost` counts the concepts that are not among them.
    """
    entry = _entry(question, gold)
    return entry.label(question.language) if entry else lines.NONE[question.language]


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold concepts of the mentions asked about that do not come back, by reason."""
    entry = _entry(question, gold)
    known = {term.name for term in question.types}

    def reason(id_: str) -> str | None:
        if id_ not in known:
            return losses.NOT_ASKED
        return None if entry and id_ == entry.name else losses.OTHER_CONCEPT

    return losses.count(
        losses.Stated((place, id_), id_, reason(id_)) for place, id_ in _concepts(question, gold)
    )


def _entry(question: Question, gold: Annotations) -> Term | None:
    known = {term.name: term for term in question.types}
    return next((known[id_] for _, id_ in _concepts(question, gold) if id_ in known), None)


def _concepts(
    question: Question, gold: Annotations
) -> list[tuple[tuple[int | None, int | None], str]]:
    """The places of the mentions asked about that have a gold concept, with its identifier."""
    places = {(mention.start, mention.end) for mention in question.mentions}
    types = {mention.type for mention in question.mentions}
    return [
        ((m.start, m.end), m.concept.id)
        for m in gold.mentions
        if m.concept and (m.start, m.end) in places
        if running(m.text) == running(question.mentions[0].text)
        if m.type in types or None in types
    ]


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of (start, end, identifier of the concept), of mentions that have both."""
    mine, true = (
        [
            (m.start, m.end, m.concept.id)
            for m in annotations.mentions
            if m.concept and m.start is not None
        ]
        for annotations in (predicted, gold)
    )
    return Counts.of(mine, true)


TASK = Task(
    name="nen",
    version=1,
    summary="concept normalisation: the entry of a terminology that each mention means",
    results="`mentions`, with their `concept`",
    template="nen.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    lost=lost,
    score=score,
    asks=asks,
    given=lambda options: options.mentions == "given",
)

"""Relation extraction: the pairs of mentions that have one of the asked relations.

Answer forms are Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README and instruction examples):

    en    chemical-induced disease: [cocaine, seizures]; [cocaine, stroke]
    zh    具有药物治疗关系的实体对如下：[高血压, 氨氯地平]

Each relation has one line; a relation without a pair is left out. The answer without any pair is
`none` or `无`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple, cast

from pydantic import Field

from taiyi_ray import nothing
from taiyi_ray.forms import running
from taiyi_ray.grounding import known_pairs_grammar, pairs_grammar
from taiyi_ray.names import AROUND_HEADS
from taiyi_ray.records import Annotations, Document, Grounded, Mention, Relation, Span
from taiyi_ray.tasks import items, lines, losses
from taiyi_ray.tasks.options import TaskOptions, later, named
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import (
    Assignment,
    Counts,
    Found,
    NotApplicable,
    Parsed,
    Question,
    Task,
    Window,
    finder,
    located,
    shown,
)
from taiyi_ray.tasks.vocabulary import RELATION_ENDS, RELATION_TYPES, Term, hints

_AROUND_PARTS = (";", "[", "]", ", ")
"""What ends a part of a pair."""


class Options(TaskOptions):
    """The types of relations, and what they are between."""

    relations: Annotated[tuple[Term, ...], named(RELATION_TYPES, AROUND_HEADS)] = Field(
        RELATION_TYPES, description="the types of relations to find (`--relations`)"
    )

    ends: Literal["text", "mentions"] = later(
        "text",
        "what heads and tails are: `text`: any words of the text; `mentions`: mentions that `ner` "
        "finds in the same run; a relation is then asked about where it has mentions of both types",
    )

    def hints(self) -> list[str]:
        return hints([term.name for term in self.relations], RELATION_TYPES)


def heads(types: Sequence[Term], language: str) -> list[str]:
    """What each line of the answer begins with."""
    if language == "zh":
        return [f"具有{term.zh}关系的实体对如下：" for term in types]
    return [term.en + lines.COLON["en"] for term in types]


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language and window, about all relations together.

    With `ends: mentions` a window is asked only about the relations that its mentions allow.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.

    Raises:
        NotApplicable: no relation has mentions of both its types.
    """
    options: Options = assignment.options
    windows = shown(document, limit)
    found = assignment.found if options.ends == "mentions" else None
    if found is None:
        return [
            _question(assignment, language, window, options.relations)
            for language, window in windows
        ]
    asked = []
    for language, window in windows:
        known = _known(found, window)
        ends = {
            term: between
            for term in options.relations
            if (between := _between(term, known, found.types)) != NOWHERE
        }
        if ends:
            asked.append(_question(assignment, language, window, tuple(ends), known, ends))
    if not asked:
        names = ", ".join(term.name for term in options.relations)
        raise NotApplicable(f"no mentions of both types of {names}")
    return asked


class _Ends(NamedTuple):
    """The words of the mentions that a relation may be between, as running text.

    Attributes:
        one: the words on the one side.
        other: the words on the other side.
    """

    one: tuple[str, ...]
    other: tuple[str, ...]


NOWHERE = _Ends((), ())
"""No two mentions have the types of the relation."""


def _known(found: Found, window: Window) -> tuple[Mention, ...]:
    """The mentions in a window whose words can be a part of a pair."""
    return tuple(
        mention
        for mention in found.mentions
        if mention.start is not None and mention.end is not None
        if window.holds(mention.start, mention.end)
        if losses.unwritable(running(mention.text), _AROUND_PARTS) is None
    )


def _between(term: Term, known: Sequence[Mention], types: frozenset[str]) -> _Ends | None:
    """The words that a relation may be between.

    Args:
        term: the relation.
        known: the mentions.
        types: the types that the mentions were asked about.

    Returns:
        None when a type of the relation was not asked about: then it may be between any words of
        the text; NOWHERE when it was, and there are no two such mentions.
    """
    one, other = RELATION_ENDS.get(term.name, (types, types))
    if not (one & types and other & types):
        return None
    ends = _Ends(*(
        tuple(dict.fromkeys(running(m.text) for m in known if m.type in side))
        for side in (one, other)
    ))  # fmt: skip
    return ends if any(a != b for a in ends.one for b in ends.other) else NOWHERE


def _question(
    assignment: Assignment,
    language: str,
    window: Window,
    types: tuple[Term, ...],
    known: tuple[Mention, ...] = (),
    ends: Mapping[Term, _Ends | None] | None = None,
) -> Question:
    """Make a question about a window.

    Args:
        assignment: the task with the options of the run.
        language: the language of the window.
        window: the window.
        types: the relations that are asked about.
        known: the mentions that heads and tails may be, if they are known.
        ends: their words for each relation.
    """
    head, starts, none = lines.beginnings(
        heads(types, language), language, headed=assignment.headed
    )
    between = [one for one in (ends or {}).values() if one is not None]
    if types and len(between) == len(types):
        grammar = partial(known_pairs_grammar, starts, between, none)
    else:
        grammar = partial(pairs_grammar, starts, "", none, window.running.text, language)
    return assignment.ask(language, window, types=types, grammar=grammar, head=head, mentions=known)


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the pairs; heads and tails become mentions without a type.

    A head or tail becomes one mention for each of its occurrences in the window. If its words are
    those of known mentions (`ends: mentions`), it is these and no others.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    find, stands = finder(question)
    read, problem = _read(text, question, stands, cut=cut)
    annotations = Annotations()
    known: dict[str, tuple[list[Span], Grounded]] = {}
    for mention in question.mentions:
        assert mention.start is not None and mention.end is not None
        spans, _ = known.setdefault(running(mention.text), ([], mention.grounded))
        spans.append(Span(mention.start, mention.end))
    ids: dict[str, list[int]] = {}

    def mentions_of(piece: Piece) -> list[int]:
        surface = piece.text
        if surface not in ids:
            first = len(annotations.mentions)
            spans, how = known[surface] if surface in known else find(surface)
            score = scores.of(piece) if scores else None
            annotations.mentions.extend(located(document, None, surface, spans, how, score))
            ids[surface] = list(range(first, len(annotations.mentions)))
            for number in ids[surface]:
                annotations.mentions[number].id = number
        return list(ids[surface])

    for term, pairs in zip(question.types, read, strict=True):
        for head, tail in pairs:
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


def _read(
    text: str, question: Question, stands: items.Stands, *, cut: bool = False
) -> tuple[list[list[tuple[Piece, Piece]]], str | None]:
    """The pairs that an answer names, for each type, and the problem of the answer, if any.

    Args:
        text: the answer.
        question: the question that was asked.
        stands: says whether a piece is one whole item.
        cut: whether the answer stopped before its end.
    """
    labels = [term.label(question.language) for term in question.types]
    if cut:
        text = lines.whole(text, *"])）】")
    lists, problem = lines.read(text, labels, heads(question.types, question.language))
    read = []
    for of_type in lists:
        told = items.said(of_type, labels, stands)
        pairs = items.pairs(told, stands)
        if told and not pairs:
            problem = problem or "invalid"
        read.append([pair for pair in pairs if not any(nothing.is_word(p.text) for p in pair)])
    return read, problem


def target(question: Question, gold: Annotations) -> str:
    """The answer that names the gold pairs whose two surfaces occur in the window, in text order.

    `lost` counts the pairs that cannot be written.
    """
    written = ["; ".join(losses.written(of_type)) for of_type in _stated(question, gold)]
    return lines.write(heads(question.types, question.language), written, "", question.language)


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold pairs that do not come back, by reason."""
    _, stands = finder(question)
    read, _ = _read(target(question, gold), question, stands)
    back: set[Hashable] = {
        (term.name, head.text, tail.text)
        for term, pairs in zip(question.types, read, strict=True)
        for head, tail in pairs
    }

    def not_back(item: losses.Stated) -> str | None:
        _, head, tail = cast(_Key, item.key)
        return None if item.key in back else losses.misread([head, tail])

    return losses.count((item for of_type in _stated(question, gold) for item in of_type), not_back)


_Key = tuple[str, str, str]


def _stated(question: Question, gold: Annotations) -> list[list[losses.Stated]]:
    """The gold pairs of each type that belong to the question, in text order."""
    text = question.window.running.text
    mentions = {mention.id: mention for mention in gold.mentions}
    stated = []
    for term in question.types:
        of_type = []
        for relation in gold.relations:
            if relation.type != term.name:
                continue
            key = _key(relation)
            _, head, tail = key
            heads_ = [mentions[n] for n in relation.head if n in mentions]
            tails = [mentions[n] for n in relation.tail if n in mentions]
            reason = _unstated(head, heads_, question) or _unstated(tail, tails, question)
            start = next((m.start for m in (*heads_, *tails) if m.start is not None), None)
            if reason is None or losses.belongs(question.window, start):
                written = "" if reason else f"[{head}, {tail}]"
                of_type.append(losses.Stated(key, written, reason))
        of_type.sort(key=lambda item: (*map(text.find, cast(_Key, item.key)[1:]), item.words))
        stated.append(losses.bounded(question, of_type))
    return stated


def _unstated(words: str, mentions: Sequence[Mention], question: Question) -> str | None:
    """Why an answer cannot name a head or tail; None if it can.

    Args:
        words: its words as running text.
        mentions: the gold mentions that it is.
        question: the question.
    """
    return losses.unwritable(words, _AROUND_PARTS) or losses.absent(
        words, question.window, mentions
    )


def _key(relation: Relation) -> _Key:
    return relation.type, running(relation.head_text), running(relation.tail_text)


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of (type, head surface, tail surface), as running text without line ends."""
    return Counts.of(map(_key, predicted.relations), map(_key, gold.relations))


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
    lost=lost,
    score=score,
    follows=lambda options: options.ends == "mentions",
)

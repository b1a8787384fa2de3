"""Coreference: which mentions are of the same thing.

Taiyi publishes no answer form; ours has a line for each chain of mentions, in the order of the
text, and `none` or `无` without any chain:

    the patient; she; her
    aspirin; the drug

The results are relations of the type `coreference` between the mentions that follow each other in a
chain. An answer names words. So each mention is the first occurrence of its words behind the one
before it that no other mention of an answer is.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise

from taiyi_ray import nothing
from taiyi_ray.forms import running
from taiyi_ray.grounding import MOST, chains_grammar
from taiyi_ray.records import (
    COREFERENCE,
    Annotations,
    Document,
    Grounded,
    Mention,
    Relation,
    Span,
)
from taiyi_ray.tasks import items, lines, losses
from taiyi_ray.tasks.options import TaskOptions
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
from taiyi_ray.tasks.vocabulary import Term

_TYPE = Term(COREFERENCE, "coreference", "共指")


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
            types=(_TYPE,),
            grammar=partial(chains_grammar, lines.NONE[language], window.running.text, language),
        )
        for language, window in shown(document, limit)
    ]


# ---------------------------------------------------------------------------------------- reading


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the chains; their mentions have no type.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    annotations = Annotations()
    chains, problem = _read(text, question, cut=cut)
    for chain in chains:
        ids = []
        for piece, span, how in chain:
            score = scores.of(piece) if scores else None
            (mention,) = located(document, None, piece.text, [span] if span else [], how, score)
            mention.id = len(annotations.mentions)
            annotations.mentions.append(mention)
            ids.append(mention.id)
        for head, tail in pairwise(ids):
            annotations.relations.append(
                Relation(
                    len(annotations.relations), COREFERENCE,
                    annotations.mentions[head].text, annotations.mentions[tail].text,
                    [head], [tail],
                )
            )  # fmt: skip
    if problem is None and any(m.grounded == "none" for m in annotations.mentions):
        problem = "not_in_text"
    return Parsed(annotations, problem)


_Located = tuple[Piece, Span | None, Grounded]


def _read(
    text: str, question: Question, *, cut: bool = False
) -> tuple[list[list[_Located]], str | None]:
    """The chains that an answer names, with the span of each mention, and the problem, if any.

    Args:
        text: the answer.
        question: the question that was asked.
        cut: whether the answer stopped before its end.
    """
    find, stands = finder(question)
    end = items.end_of(text) if cut else None
    problem = None if text.strip() else "invalid"
    chains = []
    taken: set[tuple[int, int]] = set()
    for raw in Piece(text, 0).split("\n"):
        line = raw.strip()
        if not line.text or lines.is_fence(line) or nothing.is_word(line.text):
            continue
        parts = [part.strip() for part in items.unlisted(line).split(";")]
        words = [word for part in parts for word in items.listed(part, stands)]
        if line.end == end:
            words = words[:-1]
        chain: list[_Located] = []
        last = (-1, 0)
        for word in words:
            spans, how = find(word.text)
            free = [span for span in spans if (span.start, span.end) not in taken]
            behind = [span for span in free if (span.start, -span.end) > last]
            span = next(iter(behind or free), None)
            if spans and span is None:
                continue  # the words are named more often than they occur
            if span is not None:
                taken.add((span.start, span.end))
                last = (span.start, -span.end)
            chain.append((word, span, how))
        if len(chain) > 1:
            chains.append(chain)
        elif len(words) < 2 and line.end != end and not lines.says_nothing(line.text, ()):
            problem = "invalid"
    return chains, problem


# ---------------------------------------------------------------------------------------- writing


def target(question: Question, gold: Annotations) -> str:
    """The chains of the window, in the order of the text.

    A mention that cannot be written is left out of its chain. `lost` counts the links to it.
    """
    written = ["; ".join(running(m.text) for m in chain) for chain in _written(question, gold)]
    return "\n".join(written) or lines.NONE[question.language]


def _written(question: Question, gold: Annotations) -> list[list[Mention]]:
    chains = []
    for chain in _chains(gold):
        written = [m for m in chain if not _unstated(m, question)]
        if question.grammar is not None:
            written = written[:MOST]
        if len(written) > 1:
            chains.append(written)
    return chains if question.grammar is None else chains[:MOST]


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the links between gold mentions that follow each other and that do not come back."""
    read, _ = _read(target(question, gold), question)
    back = set()
    for places in read:
        spans = [(span.start, span.end) if span else None for _, span, _ in places]
        back |= set(pairwise(spans))
    named = {m.id for chain in _written(question, gold) for m in chain}
    stated = []
    for chain in _chains(gold):
        faults = {m.id: _unstated(m, question) for m in chain}
        alone = sum(fault is None for fault in faults.values()) < 2
        for head, tail in pairwise(chain):
            if not losses.belongs(question.window, head.start):
                continue
            key = ((head.start, head.end), (tail.start, tail.end))
            reason = faults[head.id] or faults[tail.id]
            if reason is None and not {head.id, tail.id} <= named:
                reason = losses.ALONE if alone else losses.BOUND
            if reason is None and key not in back:
                reason = losses.ELSEWHERE
            stated.append(losses.Stated(key, "", reason))
    return losses.count(stated)


def _unstated(mention: Mention, question: Question) -> str | None:
    """Why an answer cannot name a gold mention; None if it can."""
    if mention.start is None or mention.end is None:
        return losses.NO_OFFSETS
    if mention.spans:
        return losses.DISCONTINUOUS
    if not question.window.holds(mention.start, mention.end):
        return losses.OUTSIDE
    words = running(mention.text)
    if nothing.is_word(words):
        return losses.NOTHING
    return losses.unwritable(words, ";") or losses.absent(words, question.window)


def _chains(gold: Annotations) -> list[list[Mention]]:
    """The chains of gold mentions, each in the order of the text, by their first mentions."""
    mentions = {mention.id: mention for mention in gold.mentions}
    joined: dict[int, set[int]] = {}
    for relation in gold.relations:
        if relation.type == COREFERENCE:
            ends = [number for number in (*relation.head, *relation.tail) if number in mentions]
            for number in ends:
                joined.setdefault(number, set()).add(ends[0])
                joined[ends[0]].add(number)
    chains = []
    while joined:
        first, near = joined.popitem()
        chain, left = {first}, list(near)
        while left:
            number = left.pop()
            chain.add(number)
            left += joined.pop(number, ())
        if len(chain) > 1:
            chains.append(sorted((mentions[number] for number in chain), key=_order))
    return sorted(chains, key=lambda chain: _order(chain[0]))


def _order(mention: Mention) -> tuple[bool, int, int, int]:
    return mention.start is None, mention.start or 0, -(mention.end or 0), mention.id


def _links(annotations: Annotations) -> list[tuple[Mention, Mention]]:
    """The pairs of mentions that follow each other in a chain."""
    return [(head, tail) for chain in _chains(annotations) for head, tail in pairwise(chain)]


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of the offsets of two mentions that follow each other in a chain."""
    mine, true = (
        [((head.start, head.end), (tail.start, tail.end)) for head, tail in _links(annotations)]
        for annotations in (predicted, gold)
    )
    return Counts.of(mine, true)


TASK = Task(
    name="coref",
    version=1,
    summary="coreference: chains of mentions of the same thing",
    results="`relations` of the type `coreference`, with their `mentions`",
    template="coref.v1",
    options=TaskOptions,
    questions=questions,
    read=parse,
    target=target,
    lost=lost,
    score=score,
)

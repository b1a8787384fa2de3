"""Similarity and entailment of two texts: the two passages of a document besides its title.

The answer is the bare label, as in Taiyi (github.com/DUTIR-BioNLP/Taiyi-LLM, README).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from taiyi_ray.records import SEPARATOR, Annotations, Document, Span
from taiyi_ray.tasks import labels
from taiyi_ray.tasks.options import TaskOptions, named
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import (
    Assignment,
    NotApplicable,
    Parsed,
    Question,
    Task,
    Window,
    pieces,
)
from taiyi_ray.tasks.vocabulary import LANGUAGES, Term

SIMILARITY = (
    Term("similar", "similar", "语义相同"),
    Term("not similar", "not similar", "语义不相同"),
)
ENTAILMENT = (
    Term("entailment", "entailment", "蕴含"),
    Term("neutral", "neutral", "中立"),
    Term("contradiction", "contradiction", "矛盾"),
)

_DESCRIPTION = "the labels to choose one from: a list of names, or for each name its `en` and `zh`"


class SimilarityOptions(TaskOptions):
    """What two texts may be called."""

    labels: Annotated[tuple[Term, ...], named(SIMILARITY)] = Field(
        SIMILARITY, description=_DESCRIPTION
    )


class EntailmentOptions(TaskOptions):
    """What may follow from one text for another."""

    labels: Annotated[tuple[Term, ...], named(ENTAILMENT)] = Field(
        ENTAILMENT, description=_DESCRIPTION
    )


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question about both texts, in Chinese if both are Chinese, else in English.

    With a limit, the question shows at most half of `limit` characters of each text.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.

    Raises:
        NotApplicable: there are not two texts, or one is neither English nor Chinese.
    """
    pair = [p for p in document.passages if p.type != "title" and p.text.strip()]
    if len(pair) != 2:
        raise NotApplicable(f"{len(pair)} passages besides the title, where two are needed")
    if any(p.language not in LANGUAGES for p in pair):
        raise NotApplicable(f"one of the texts is in neither {' nor '.join(LANGUAGES.values())}")
    language = "zh" if all(p.language == "zh" for p in pair) else "en"
    spans = [Span(p.offset, p.end) for p in pair]
    if limit is not None:
        spans = [pieces(document.text, span, max(1, limit // 2))[0] for span in spans]
    first, second = (document.text[s.start : s.end] for s in spans)
    types = assignment.options.labels
    return [
        assignment.ask(
            language,
            Window(0, tuple(spans), first + SEPARATOR + second),
            types=types,
            multi_label=False,
            grammar=partial(labels.grammar, "", types, language, multi_label=False),
            text="",
            first=first.strip(),
            second=second.strip(),
        )
    ]


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the label.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    return labels.parse(text, question, "", cut=cut, scores=scores)


def target(question: Question, gold: Annotations) -> str:
    """The gold label."""
    return labels.target(question, gold, "")


SIMILARITY_TASK = Task(
    name="similarity",
    version=2,
    summary="whether two texts say the same",
    results="`labels`",
    template="similarity.v1",
    options=SimilarityOptions,
    questions=questions,
    read=parse,
    target=target,
    lost=labels.lost,
    score=labels.score,
)

ENTAILMENT_TASK = Task(
    name="entailment",
    version=2,
    summary="whether the first of two texts entails or contradicts the second",
    results="`labels`",
    template="entailment.v1",
    options=EntailmentOptions,
    questions=questions,
    read=parse,
    target=target,
    lost=labels.lost,
    score=labels.score,
)

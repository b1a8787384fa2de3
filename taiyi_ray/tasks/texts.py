"""Read and write answers that are free text, which is kept as the model wrote it."""

from __future__ import annotations

from collections import Counter

from taiyi_ray.records import Annotations, Document, Text
from taiyi_ray.tasks import losses
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Counts, Parsed, Question


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the whole answer, without white space at its ends; a cut answer as far as it goes.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    written = text.strip()
    if not written:
        return Parsed(Annotations(), "empty")
    return Parsed(Annotations(texts=[Text(question.key, written)]))


def target(question: Question, gold: Annotations) -> str:
    """The gold text, or an empty one when there is none."""
    return next((t.text.strip() for t in gold.texts if t.task == question.key), "")


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold texts that the answer is not, by reason: it is one text, without blanks."""
    stated = target(question, gold)
    texts = dict.fromkeys(t.text for t in gold.texts if t.task == question.key)
    return losses.count(losses.Stated(text, stated, _unstated(text, stated)) for text in texts)


def _unstated(text: str, stated: str) -> str | None:
    if not text.strip():
        return losses.NO_WORDS
    if text.strip() != stated:
        return losses.SECOND
    return None if text == stated else losses.BLANK


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of (task, text). This is a lower bound: free text has metrics of its own."""
    mine = [(text.task, text.text) for text in predicted.texts]
    return Counts.of(mine, [(text.task, text.text) for text in gold.texts])

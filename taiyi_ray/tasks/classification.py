"""Text classification: which of the given labels a document has.

Answer forms are Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README and instruction examples):

    one label, en      Result: Treatment
    one label, zh      上述文本被分类为：治疗
    multi-label, en    Result: Treatment; Prevention
    multi-label, zh    上述文本被分类为：治疗; 预防

When more than one label may be true, there may also be none that is. Taiyi shows no answer for
that case; ours is `Result: none` or `上述文本被分类为：无`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field

from taiyi_ray.records import Annotations, Document
from taiyi_ray.tasks import labels
from taiyi_ray.tasks.options import TaskOptions, named
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Assignment, Parsed, Question, Task, shown
from taiyi_ray.tasks.vocabulary import Term

_HEAD = {"en": "Result: ", "zh": "上述文本被分类为："}


class Options(TaskOptions):
    """The labels, and how many of them may be true."""

    older_names: ClassVar[Mapping[str, str]] = {"several": "multi_label"}

    labels: Annotated[tuple[Term, ...], named()] = Field(
        description="the labels to choose from: a list of names, or for each name its `en` and `zh`"
    )
    multi_label: bool = Field(
        False,
        description="whether more than one label, or none, may be true; without it, exactly one is",
    )

    @classmethod
    def example(cls) -> str:
        return "{labels: [Treatment, Prevention], multi_label: true}"


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language, about its first window or about each.

    When only one label may be true, the first window is enough: the beginning of a long document
    tells what it is. When more than one may be true, each window gets a question.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    options: Options = assignment.options
    # Every answer has the head: a grammar leaves no other way, and models are trained so.
    known = assignment.grammar or assignment.headed
    return [
        assignment.ask(
            language,
            window,
            types=options.labels,
            multi_label=options.multi_label,
            grammar=partial(
                labels.grammar,
                head[len(head.rstrip()) :],
                options.labels,
                language,
                multi_label=options.multi_label,
            ),
            head=head if known else "",
            # The released wordings have this name for it. They keep their bytes, because their
            # digests are in the fingerprints of outputs.
            multiple=options.multi_label,
        )
        for language, window in shown(document, limit, first=not options.multi_label)
        for head in [_HEAD[language]]
    ]


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the labels behind `Result:`.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    return labels.parse(text, question, _HEAD[question.language], cut=cut, scores=scores)


def target(question: Question, gold: Annotations) -> str:
    """The answer that names the gold labels, in the order of the question."""
    return labels.target(question, gold, _HEAD[question.language])


TASK = Task(
    name="tc",
    version=2,
    summary="text classification: one or more of the given labels",
    results="`labels`",
    template="tc.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    lost=labels.lost,
    score=labels.score,
)

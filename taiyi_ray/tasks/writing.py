"""A title and a summary of a document, in the language of its text: the answer is the bare text.

The form of titles is Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README); the form of summaries is
ours.
"""

from __future__ import annotations

from pydantic import Field

from taiyi_ray.records import Document
from taiyi_ray.tasks import texts
from taiyi_ray.tasks.options import TaskOptions
from taiyi_ray.tasks.task import Assignment, Question, Task, shown

_TITLE = ("title",)


class SummaryOptions(TaskOptions):
    """How long a summary may be."""

    sentences: int = Field(3, ge=1, le=50, description="the most sentences of a summary")


def title_questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language, about its first window and without the given title.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    return [
        assignment.ask(language, window)
        for language, window in shown(document, limit, without=_TITLE, first=True)
    ]


def summary_questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language and window.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    sentences = assignment.options.sentences
    return [
        assignment.ask(language, window, sentences=sentences)
        for language, window in shown(document, limit)
    ]


TITLE = Task(
    name="title",
    version=2,
    summary="a new title for the text, which is shown without its own",
    results="`texts`",
    template="title.v1",
    options=TaskOptions,
    questions=title_questions,
    read=texts.parse,
    target=texts.target,
    lost=texts.lost,
    score=texts.score,
)

SUMMARY = Task(
    name="summary",
    version=2,
    summary="a summary of the text",
    results="`texts`",
    template="summary.v1",
    options=SummaryOptions,
    questions=summary_questions,
    read=texts.parse,
    target=texts.target,
    lost=texts.lost,
    score=texts.score,
)

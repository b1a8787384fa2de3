"""Machine translation, English to Chinese and back: the answer is the bare translation.

The form is Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README and instruction examples). The
question is in the language of the text. The results name the translation `mt:zh` or `mt:en`.
"""

from __future__ import annotations

from pydantic import Field

from taiyi_ray.records import Document
from taiyi_ray.tasks import texts
from taiyi_ray.tasks.options import TaskOptions
from taiyi_ray.tasks.task import Assignment, Question, Task, shown
from taiyi_ray.tasks.vocabulary import LANGUAGES, Language

_OTHER = {"en": "zh", "zh": "en"}


class Options(TaskOptions):
    """What is translated."""

    to: Language | None = Field(
        None,
        description="the language to translate into; without it, English is translated into "
        "Chinese and Chinese into English",
    )


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each window in a language that is translated.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    to = assignment.options.to
    return [
        assignment.ask(language, window, part=_OTHER[language])
        for language, window in shown(
            document, limit, languages=[_OTHER[to]] if to else tuple(LANGUAGES)
        )
    ]


TASK = Task(
    name="mt",
    version=2,
    summary="machine translation between English and Chinese",
    results="`texts`, as `mt:en` and `mt:zh`",
    template="mt.v1",
    options=Options,
    questions=questions,
    read=texts.parse,
    target=texts.target,
    lost=texts.lost,
    score=texts.score,
)

"""General dialogue, with or without a chain of thought: a task for training data only.

The turns of a document are passages as in `dialogue.py`, and the passages of the type `system` are
the system's message. There is no instruction: the messages of the chat are the turns as they are.
"""

from __future__ import annotations

from taiyi_ray.records import SEPARATOR, Document
from taiyi_ray.tasks import dialogue, texts
from taiyi_ray.tasks.options import TaskOptions
from taiyi_ray.tasks.task import Assignment, Question, Task

_SYSTEM = "system"


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question: what the assistant says next. With a limit, it shows only the last turns.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of the turns; None for no limit.

    Raises:
        NotApplicable: as of `dialogue.questions`.
    """
    language, window, messages = dialogue.conversation(document, limit)
    system = SEPARATOR.join(p.text.strip() for p in document.passages if p.type == _SYSTEM)
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return [Question(assignment.task.name, (), language, window, messages, None)]


TASK = Task(
    name="chat",
    version=1,
    summary="general dialogue, for training data only",
    results="`texts`",
    template="",
    options=TaskOptions,
    questions=questions,
    read=texts.parse,
    target=texts.target,
    lost=texts.lost,
    score=texts.score,
    taught=dialogue.lessons,
)

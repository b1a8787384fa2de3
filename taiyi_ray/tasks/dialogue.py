"""Multi-round dialogue: the model writes the doctor's next turn.

The turns of a document are its passages of the types `patient` or `user`, and `doctor` or
`assistant`. They become the messages of a chat, after an instruction. The answer is free text, as
in Taiyi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from taiyi_ray.records import SEPARATOR, Annotations, Document, Passage, Span, Text
from taiyi_ray.tasks import texts
from taiyi_ray.tasks.options import TaskOptions
from taiyi_ray.tasks.task import (
    Assignment,
    Message,
    NotApplicable,
    Question,
    Task,
    Window,
)
from taiyi_ray.tasks.vocabulary import LANGUAGES

ROLES = {"patient": "user", "user": "user", "doctor": "assistant", "assistant": "assistant"}
"""The role of the speaker in chat messages, by the type of the passage."""

SPEAKERS = {
    "en": {"user": "Patient: ", "assistant": "Doctor: "},
    "zh": {"user": "患者：", "assistant": "医生："},
}
"""What stands before a turn where a text shows it, by language and role."""


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question: what the doctor says next. With a limit, it shows only the last turns.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.

    Raises:
        NotApplicable: the document has no turns, the last turn is the doctor's, or its language is
            neither English nor Chinese.
    """
    language, window, messages = conversation(document, limit)
    question = assignment.ask(language, window, text="")
    instruction = question.messages[0]["content"]
    if messages[0]["role"] == "user":
        instruction += "\n\n" + messages.pop(0)["content"]
    return [replace(question, messages=[{"role": "user", "content": instruction}, *messages])]


def turns_of(document: Document) -> list[Passage]:
    """The turns of a document.

    Raises:
        NotApplicable: it has none.
    """
    turns = [p for p in document.passages if p.type in ROLES and p.text.strip()]
    if not turns:
        raise NotApplicable(f"no passage has one of the types {', '.join(ROLES)}")
    return turns


def conversation(document: Document, limit: int | None) -> tuple[str, Window, list[Message]]:
    """The last turns of a document: their language, their window, and the messages of a chat.

    Args:
        document: the document.
        limit: the most characters of the turns; None for no limit.

    Raises:
        NotApplicable: as of `questions`.
    """
    turns = turns_of(document)
    last = turns[-1]
    if ROLES[last.type] != "user":
        raise NotApplicable("the last turn is the doctor's: there is nothing to answer")
    if last.language not in LANGUAGES:
        raise NotApplicable(f"no text in {' or '.join(LANGUAGES.values())}")
    spans = _last(turns, limit)
    kept = turns[-len(spans) :]
    text = document.text
    said = [text[span.start : span.end] for span in spans]
    window = Window(0, tuple(spans), SEPARATOR.join(said))
    return last.language, window, _messages([ROLES[turn.type] for turn in kept], said)


def lessons(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[tuple[Question, Annotations]]:
    """The question before the doctor's last turn, with this turn as its answer, for training.

    The messages of the question are all turns before it. So a trainer that learns from every
    message of an assistant learns from each turn of the doctor. A document whose gold has the next
    turn is asked about as it is; else what the patient says behind the doctor's last turn is left
    out.

    Args:
        document: the document.
        assignment: the task with its options.
        limit: the most characters of the turns; None for no limit.

    Raises:
        NotApplicable: the doctor says nothing, or nothing stands before it.
    """
    task = assignment.task
    if any(text.task == task.name for text in document.gold.texts):
        return [(q, document.gold) for q in task.questions(document, assignment, limit)]
    turns = turns_of(document)
    while turns and ROLES[turns[-1].type] == "user":
        turns.pop()
    answer: list[Passage] = []
    while turns and ROLES[turns[-1].type] == "assistant":
        answer.insert(0, turns.pop())
    if not answer:
        raise NotApplicable("no turn is the doctor's: there is nothing to learn")
    before = [p for p in document.passages if p.offset < answer[0].offset]
    written = SEPARATOR.join(turn.text.strip() for turn in answer)
    gold = Annotations(texts=[Text(task.name, written)])
    asked = task.questions(replace(document, passages=before), assignment, limit)
    return [(question, gold) for question in asked]


def _last(turns: Sequence[Passage], limit: int | None) -> list[Span]:
    """The spans of the last turns that fit into `limit` characters.

    When not even the last turn fits, this is the end of it.
    """
    spans: list[Span] = []
    room = limit
    for turn in reversed(turns):
        start = turn.offset
        if room is not None:
            if turn.end - start > room and spans:
                break
            start = max(start, turn.end - room)
            room = max(0, room - (turn.end - start) - len(SEPARATOR))
        spans.append(Span(start, turn.end))
    return spans[::-1]


def _messages(roles: Sequence[str], said: Sequence[str]) -> list[Message]:
    """The turns as chat messages.

    Turns of one speaker in a row become one message, because chat templates want user and assistant
    to alternate.
    """
    return [
        {"role": role, "content": SEPARATOR.join(text.strip() for _, text in group)}
        for role, group in groupby(zip(roles, said, strict=True), key=lambda turn: turn[0])
    ]


TASK = Task(
    name="dialogue",
    version=2,
    summary="what the doctor says next in a dialogue",
    results="`texts`",
    template="dialogue.v1",
    options=TaskOptions,
    questions=questions,
    read=texts.parse,
    target=texts.target,
    lost=texts.lost,
    score=texts.score,
    taught=lessons,
)

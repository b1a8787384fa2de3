"""Multi-round dialogue: the model writes the doctor's next turn.

The turns of a document are its passages of the types `patient` or `user`, and `doctor` or
`assistant`. They become the messages of a chat, after an instruction. The answer is free text, as
in Taiyi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from taiyi_ray.records import SEPARATOR, Document, Passage, Span
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
    turns = [p for p in document.passages if p.type in ROLES and p.text.strip()]
    if not turns:
        raise NotApplicable(f"no passage has one of the types {', '.join(ROLES)}")
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
    question = assignment.ask(last.language, window, text="")
    messages = _messages([ROLES[turn.type] for turn in kept], said)
    instruction = question.messages[0]["content"]
    if messages[0]["role"] == "user":
        instruction += "\n\n" + messages.pop(0)["content"]
    return [replace(question, messages=[{"role": "user", "content": instruction}, *messages])]


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
)

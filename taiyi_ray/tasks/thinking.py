"""Remove from an answer what the model thinks before it answers (`<think>...</think>`)."""

from __future__ import annotations

import re

from taiyi_ray.tasks.scores import Scores

_NAME = "think|thinking|thought|reasoning"
_BEGINS = re.compile(rf"<(?:{_NAME})>|\[THINK\]", re.IGNORECASE)
_ENDS = re.compile(rf"</(?:{_NAME})>|\[/THINK\]", re.IGNORECASE)


def answer(text: str, scores: Scores | None) -> tuple[str, Scores | None]:
    """The text after the last thought, and the scores of that part.

    Some chat templates write the opening tag into the prompt, so that the text has only the closing
    one. A thought without a closing tag was cut: all text after its opening tag is thought.
    """
    start = _last_end(text)
    begins = _BEGINS.search(text, start)
    end = begins.start() if begins else len(text)
    if (start, end) == (0, len(text)):
        return text, scores
    return text[start:end], scores.part(start, end) if scores else None


def is_open(text: str) -> bool:
    """Whether a text ends inside a thought."""
    return _BEGINS.search(text, _last_end(text)) is not None


def _last_end(text: str) -> int:
    return max((match.end() for match in _ENDS.finditer(text)), default=0)

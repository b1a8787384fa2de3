"""A fake engine: deterministic answers without a model, and every kind of trouble on request.

The fast tests and rehearsals of a job (`--engine fake`) use it. The same question always gets the
same answer, so the output of a disturbed run can be compared with that of a quiet one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from taiyi_ray.engine.engine import Completion, Prompt, behind_head
from taiyi_ray.errors import EngineDied, QuestionError
from taiyi_ray.forms import is_han
from taiyi_ray.records import (
    Annotations,
    Argument,
    Concept,
    Event,
    Label,
    Mention,
    Relation,
    Text,
)
from taiyi_ray.tasks import TASKS
from taiyi_ray.tasks.events import EventType
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Question
from taiyi_ray.tasks.vocabulary import Term

QUESTION_SLOTS = 64
"""The questions that the engine answers at once, unless its argument `question_slots` differs."""

_WORD = re.compile(r"[^\W\d_]{4,}")
_CHARACTERS_A_TOKEN = 4
_WORDS = 8
"""The words of an imagined text, such as a title."""


class FakeEngine:
    """Finds a few words of the text, as a model would find mentions, and pairs neighbours.

    Args:
        context_length: the most tokens of a prompt and its answer; a token is four characters here.
        scores: give log-probabilities; the same token always has the same.
        latency: the seconds that an answer takes.
        question_slots: how many questions the engine answers at once.
        garbage: the share of questions that get nonsense as their answer.
        cut: the share of first answers that end at their token limit.
        repeat: the share of answers that end because they repeat themselves.
        refuse: the share of questions that the engine refuses.
        die_on: a question on a text that holds this string ends the engine, as a crash would.
        die_when: the path of a file. When it appears, the first engine that sees it removes it and
            ends, as if it crashed.
        kill_on: a question on a text that holds this string ends the whole process by SIGKILL.
        start_error: the reason with which the engine fails to start, if it shall.
    """

    def __init__(
        self,
        context_length: int,
        *,
        scores: bool = False,
        latency: float = 0.0,
        question_slots: int = QUESTION_SLOTS,
        garbage: float = 0.0,
        cut: float = 0.0,
        repeat: float = 0.0,
        refuse: float = 0.0,
        die_on: str = "",
        die_when: str = "",
        kill_on: str = "",
        start_error: str = "",
    ) -> None:
        if start_error:
            raise RuntimeError(start_error)
        self.context_length = context_length
        self.question_slots = question_slots
        self._scores = scores
        self._latency = latency
        self._shares = {"garbage": garbage, "cut": cut, "repeat": repeat, "refuse": refuse}
        self._die_on, self._die_when, self._kill_on = die_on, die_when, kill_on
        # All variants of an engine share these two.
        self._dead = threading.Event()
        self._asked: list[None] = []

    def prompt(self, question: Question) -> Prompt:
        length = sum(len(message["content"]) for message in question.messages)
        head = question.given
        return Prompt(None, (length + len(head)) // _CHARACTERS_A_TOKEN + 1, head)

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        self._asked.append(None)
        try:
            await asyncio.sleep(self._latency)
        finally:
            self._asked.pop()
        if self._kill_on and self._kill_on in question.window.text:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._die_on and self._die_on in question.window.text:
            self._dead.set()
        if self._die_when:
            with suppress(FileNotFoundError):
                Path(self._die_when).unlink()
                self._dead.set()
        if self._dead.is_set():
            raise EngineDied("the fake engine died as told")
        draw = _number("trouble", question.task, question.window.text) / 2**32
        trouble = next(self._troubles(draw), None)
        if trouble == "refuse":
            raise QuestionError("the fake engine refuses this question")
        text = _right_answer(question).removeprefix(prompt.head)
        if trouble == "garbage":
            text = "[] ; : \u0000 \U0001f600 [a"
        reason = "stop"
        if trouble == "repeat":
            text, reason = f"{text}; {text[-8:]}; {text[-8:]}", "repetition"
        allowed = max_tokens * _CHARACTERS_A_TOKEN
        if trouble == "cut":  # the limit grows with max_tokens, so that asking again helps
            allowed = min(allowed, max(8, len(text) // 2) * max_tokens // 512)
        if len(text) > allowed:
            text, reason = text[:allowed], "length"
        tokens = -(-len(text) // _CHARACTERS_A_TOKEN)
        scores = _scores(text) if self._scores else None
        completion = Completion(text, reason, prompt.tokens, 0, tokens, scores)  # type: ignore[arg-type]
        return behind_head(completion, prompt.head)

    def _troubles(self, draw: float) -> Iterator[str]:
        edge = 0.0
        for name, share in self._shares.items():
            edge += share
            if draw < edge:
                yield name

    @property
    def alive(self) -> bool:
        return not self._dead.is_set()

    @property
    def unanswered(self) -> int:
        return len(self._asked)

    def variant(self, *, scores: bool, adapter: Any = None) -> FakeEngine:
        other = copy(self)
        other._scores = scores
        return other

    def close(self) -> None:
        self._dead.set()


def _number(*parts: str) -> int:
    data = "\0".join(parts).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big")


def _scores(text: str) -> Scores:
    starts = range(0, len(text), _CHARACTERS_A_TOKEN)
    tokens = [text[start : start + _CHARACTERS_A_TOKEN] for start in starts]
    return Scores(text, starts, [-_number(token) / 2**32 for token in tokens])


def _right_answer(question: Question) -> str:
    """The answer that states imagined gold annotations."""
    return TASKS[question.task].answer(question, _imagined(question))


def _imagined(question: Question) -> Annotations:
    """Imagine gold annotations of every kind; each task writes those that it is about.

    About every fifth long word is a mention, and its hash decides its type. Neighbouring mentions
    make relations and events. The hash of the text decides the label, and a text is its first
    words.
    """
    gold = Annotations()
    at = 0
    for span in question.window.spans:
        piece = question.window.text[at : at + span.end - span.start]
        at += len(piece) + 1
        for match in _WORD.finditer(piece):
            surface = match.group()[:4] if is_han(match.group()[0]) else match.group()
            number = _number(surface.casefold())
            if number % 5 == 0:
                start = span.start + match.start()
                gold.mentions.append(
                    Mention(len(gold.mentions), None, surface, start, start + len(surface))
                )
    words = " ".join(question.window.text.split()[:_WORDS]) or "nothing"
    gold.texts = [Text(key, words) for key in _keys(question)]
    if not question.types:
        return gold
    for mention in gold.mentions:
        mention.type = _chosen(question, mention.text.casefold()).name
    for head, tail in pairwise(gold.mentions):
        if head.text != tail.text and _number(head.text, tail.text) % 3 == 0:
            term = _chosen(question, head.text, tail.text)
            gold.relations.append(
                Relation(len(gold.relations), term.name, head.text, tail.text, [head.id], [tail.id])
            )
            if isinstance(term, EventType):
                players = [Argument(role.name, tail.id, tail.text) for role in term.roles[:1]]
                gold.events.append(Event(len(gold.events), term.name, head.id, players))
    gold.mentions += [
        replace(mention, concept=Concept("", _chosen(question, mention.text).name))
        for mention in question.mentions
    ]
    gold.labels = [Label(question.key, _chosen(question, question.window.text).name)]
    return gold


def _chosen(question: Question, *words: str) -> Term:
    return question.types[_number(*words) // 64 % len(question.types)]


def _keys(question: Question) -> list[str]:
    """The names that a task may give its texts: that of the question, or one for each section."""
    return [question.key, *(f"{question.key}:{term.name}" for term in question.types)]

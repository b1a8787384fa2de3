"""The interface of an engine: a question goes in as a prompt, its answer comes out.

An engine lives in one asyncio loop and answers many questions at once: it does its own batching.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Question

DECODING = {"temperature": 0.0, "repetition": {"min_size": 1, "max_size": 12, "min_count": 3}}
"""Greedy; an answer that repeats an n-gram of 1 to 12 tokens three times in a row is ended."""

FinishReason = Literal["stop", "length", "repetition"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question rendered and tokenised once: `content` is for its engine, `tokens` its length."""

    content: Any
    tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote; `length` means cut at its token limit, `repetition` in a loop.

    `scores` are there when the engine was started to give them.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    scores: Scores | None = None


class Engine(Protocol):
    """Answers questions. `context_limit` counts the tokens of a prompt and its answer together.

    `complete` raises QuestionError when this question cannot be answered; when none can any more,
    EngineDied for an engine of ours, ServerGone or ConfigError for a server. Cancelled, it ends the
    answer in the engine, too.
    """

    context_limit: int
    most_in_flight: int

    def prompt(self, question: Question) -> Prompt: ...

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion: ...

    def close(self) -> None: ...


class SharedEngine(Engine, Protocol):
    """An engine of ours that requests with different wishes share."""

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        ...

    @property
    def unanswered(self) -> int:
        """Questions that it works on or that wait in it."""
        ...

    def variant(self, *, scores: bool, adapter: Any = None) -> SharedEngine:
        """The same engine, answering with scores or without, and with an adapter (LoRA) or none."""
        ...


def scores_of(text: str, tokens: Sequence[str], logprobs: Sequence[float]) -> Scores | None:
    """Where each token begins in an answer.

    A token that only begins a character (bytes of a Chinese one) has no text; the token that ends
    it has it all. The closing special token is no text of the answer either. None for a tokenizer
    whose tokens, decoded one by one, do not make the text.
    """
    if not "".join(tokens).startswith(text):
        return None
    starts = list(itertools.accumulate((len(token) for token in tokens), initial=0))[:-1]
    return Scores(text, starts, logprobs)

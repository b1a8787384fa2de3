"""The interface of an engine, which takes a question as a prompt and returns its answer.

An engine lives in one asyncio loop and answers many questions at once; it does its own batching.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from taiyi_ray.models import Prompter
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Question

_REPETITION = {"min_size": 1, "max_size": 12, "min_count": 3}
DECODING = {"temperature": 0.0, "repetition": _REPETITION}
"""Decoding is greedy. An answer that repeats 1 to 12 tokens three times in a row is ended."""
REPETITION_DETECTION = {
    "min_pattern_size": _REPETITION["min_size"],
    "max_pattern_size": _REPETITION["max_size"],
    "min_count": _REPETITION["min_count"],
}
"""The same rule in vLLM's terms (`vllm.sampling_params.RepetitionDetectionParams`). DECODING has
terms of its own, because it is in the fingerprints of outputs."""

FinishReason = Literal["stop", "length", "repetition"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question in the form that an engine takes, made once.

    Attributes:
        content: the prompt; only the engine that made it knows its form.
        tokens: the length of the prompt in tokens, which may be an estimate.
        head: the beginning of the answer, where the prompt holds it: nothing, or `Question.given`.
    """

    content: Any
    tokens: int
    head: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote.

    Attributes:
        text: the answer, with the head that the prompt held.
        finish_reason: why the answer ended: `stop` when the model ended it, `length` at the token
            limit, `repetition` when it repeated itself.
        prompt_tokens: the tokens of the prompt.
        cached_tokens: how many of these the engine had in its prefix cache.
        output_tokens: the tokens that the engine wrote.
        scores: the log-probabilities of these tokens, from an engine that was started with scores.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    scores: Scores | None = None


def of_tokens(prompter: Prompter, question: Question) -> Prompt:
    """Make the prompt of a question as tokens."""
    head = question.given
    if head and question.grammar is None and prompter.opens_thought:
        head = ""  # the answer begins behind the thought
    tokens = prompter.tokens(question.messages, head)
    return Prompt(tokens, len(tokens), head)


def grammar_of(question: Question, prompt: Prompt) -> str | None:
    """The grammar of what an engine writes behind a prompt."""
    return question.grammar if prompt.head else question.whole_grammar


def behind_head(completion: Completion, head: str) -> Completion:
    """The completion of a prompt that held the head of the answer, with this head before it."""
    if not head:
        return completion
    scores = completion.scores and completion.scores.behind(head)
    return replace(completion, text=head + completion.text, scores=scores)


class Engine(Protocol):
    """Answers questions.

    Attributes:
        context_length: the most tokens of a prompt and its answer together.
        question_slots: how many questions the engine answers at once.
    """

    context_length: int
    question_slots: int

    def prompt(self, question: Question) -> Prompt:
        """Make the prompt of a question; threads may call this at the same time."""
        ...

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        """Answer a question. When this call is cancelled, the engine stops the answer as well.

        Args:
            question: the question.
            prompt: what `prompt` made of the question.
            max_tokens: the most tokens of the answer.

        Raises:
            QuestionError: the engine cannot answer this question.
            EngineDied: an engine of ours cannot answer any question any more.
            ServerGone, ConfigError: a server does not answer any question any more.
        """
        ...

    def close(self) -> None:
        """End the engine."""
        ...


class SharedEngine(Engine, Protocol):
    """An engine of ours that requests share, each with its own wish for scores and adapter."""

    @property
    def alive(self) -> bool:
        """Whether the engine still answers."""
        ...

    @property
    def unanswered(self) -> int:
        """The number of questions that the engine works on or keeps waiting."""
        ...

    def variant(self, *, scores: bool, adapter: Any = None) -> SharedEngine:
        """The same running engine, with or without scores, and with a LoRA adapter or none."""
        ...


def scores_of(text: str, tokens: Sequence[str], logprobs: Sequence[float]) -> Scores | None:
    """Find where each token begins in an answer; None when the tokens do not spell the answer.

    Several tokens may make one character, such as a Chinese one: then the last token has its whole
    text, and the others have none. The special token that ends an answer is not part of its text.

    Args:
        text: the answer.
        tokens: the text of each token, decoded one by one.
        logprobs: the log-probability of each token.
    """
    if not "".join(tokens).startswith(text):
        return None
    starts = list(itertools.accumulate((len(token) for token in tokens), initial=0))[:-1]
    return Scores(text, starts, logprobs)
